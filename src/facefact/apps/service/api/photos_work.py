"""What the process does that finds faces in photos, and reads and makes identity cards. Its models stay open."""

from __future__ import annotations

import base64
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from facefact.apps.service.api.aside import Work
from facefact.types import UserError

DRAWN_SIDE = 768  # pixels of the longer side of the picture that shows what was found


@dataclass(frozen=True)
class Opening:
    """What `Studio.open` is opened with, as far as it concerns faces. scratch: a folder for photos while a card is made
    of them; what is in it is deleted at the start."""

    model: str
    adapter: str | None
    yunet: str | None
    offline: bool
    scratch: str


def open_photos(opening: Opening) -> Work:
    """`faces` of one picture; a `card` of one person's photos; `read` a card; `warm` opens the detector before it is
    needed, and says what the parts of the model are licensed under."""
    shutil.rmtree(opening.scratch, ignore_errors=True)
    os.makedirs(opening.scratch, mode=0o700)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    tools = Tools(opening)

    def work(what: str, said: dict[str, Any], parts: Sequence[bytes]) -> tuple[dict[str, Any], Sequence[bytes]]:
        with warnings_of() as warned:
            if what == "card":
                return {"warnings": warned}, [made_card(tools, said, parts, warned)]
            if what == "read":
                check_card(parts[0])
                return {}, []
            found = faces(tools, said, parts[0]) if what == "faces" else tools.about()
            return {**found, "warnings": warned}, []

    return work


class Tools:
    """Opened when they are first needed."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening

    @cached_property
    def detector(self) -> Any:
        from facefact.data.local import one_thread
        from facefact.faces import get_detector

        one_thread()
        return get_detector(model=self.opening.yunet)

    @cached_property
    def adapter(self) -> Any:
        from facefact.face_adapter import FaceAdapter
        from facefact.generate.studio import locate_adapter

        where = self.opening
        folder = locate_adapter(model=where.model, adapter=where.adapter, offline=where.offline)
        return FaceAdapter.from_pretrained(folder, local_files_only=True)

    def about(self) -> dict[str, Any]:
        """Part of the model -> its licence."""
        from facefact.generate.licences import brief, licences

        stated = brief(licences(model=self.opening.model, adapter=self.opening.adapter))
        return {"licences": stated | {"face detector": self.detector.licence}}


def faces(tools: Tools, said: dict[str, Any], picture: bytes) -> dict[str, Any]:
    """As `facefact faces --json` says it of one picture. said: which, draw."""
    from facefact.apps.commands.faces import Report, as_json, drawing, look_into
    from facefact.faces import open_picture

    report, pixels, which = Report(""), open_picture(picture), int(said["which"])
    try:
        look_into(report, pixels, tools.detector, which)
    except UserError as error:
        report.error = str(error)
    found = as_json(report, which)
    kept = {name: found[name] for name in ("width", "height", "faces", "which", "error")}
    kept["detector"] = tools.detector.name
    kept["drawn"] = jpeg(drawing(pixels, report, tools.detector, which)) if said["draw"] and report.faces else None
    return kept


def check_card(content: bytes) -> None:
    """UserError: damaged, expired, or none."""
    from facefact.encoder import load_card

    load_card(content, name="the card")


def jpeg(pixels: Any) -> str:
    """In base64."""
    from PIL import Image

    image, out = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((DRAWN_SIDE, DRAWN_SIDE))
    image.save(out, format="JPEG", quality=85)
    return base64.b64encode(out.getvalue()).decode()


def made_card(tools: Tools, said: dict[str, Any], photos: Sequence[bytes], warned: list[str]) -> bytes:
    """The card's file. said: which, name, consent, expires (a day), thumbnail. UserErrors as `make_card`."""
    from facefact.encoder import save_card
    from facefact.generate.cards import make_card
    from facefact.generate.studio import public_name

    opening = tools.opening
    folder = Path(tempfile.mkdtemp(dir=opening.scratch))
    try:
        paths = [folder / f"photo {number}" for number in range(1, len(photos) + 1)]
        for path, photo in zip(paths, photos, strict=True):
            path.write_bytes(photo)
        card = make_card(
            paths,
            adapter=tools.adapter,
            adapter_name=public_name(opening.adapter or opening.model),
            detector=tools.detector,
            which=int(said["which"]),
            model=opening.model,
            name=said["name"],
            consent=said["consent"],
            expires=date.fromisoformat(said["expires"]) if said["expires"] else None,
            thumbnail=bool(said["thumbnail"]),
        )
        out = folder / "card.safetensors"
        save_card(card, out)
        warned[:] = [line.replace(f"{folder}/", "") for line in warned]
        return out.read_bytes()
    except UserError as error:
        raise UserError(str(error).replace(f"{folder}/", "")) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def warnings_of() -> Iterator[list[str]]:
    """The lines that facefact warns of inside; they go to whoever asked, not into the log."""
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(" ".join(record.getMessage().split()).removeprefix("warning: "))

    log, handler = logging.getLogger("facefact"), Kept(logging.WARNING)
    log.addHandler(handler)
    before, log.propagate = log.propagate, False
    try:
        yield lines
    finally:
        log.removeHandler(handler)
        log.propagate = before

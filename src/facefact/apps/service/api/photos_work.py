"""What the process does that finds faces in photos, and reads and makes identity cards. Its models stay open."""

from __future__ import annotations

import base64
import io
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
    """`faces` of one picture; a `card` of one person's photos; `read` a card; `likeness` of pictures to a person, whose
    photos or cards come first; `styles` that fit the model; settings in a `style`; `warm` opens the detector before it
    is needed, and says what the parts of the model are licensed under. `keep`: the Content Credentials of a file under
    a title, if they can be read."""
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
            if what == "keep":
                return {}, kept_manifest(said["title"], parts[0])
            if what == "styles":
                return {"data": fitting_styles(tools)}, []
            if what == "style":
                return {"settings": styled(tools, said)}, []
            if what == "likeness":
                return {"data": likeness(tools, said, parts), "warnings": warned}, []
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


def fitting_styles(tools: Tools) -> list[dict[str, Any]]:
    """Those for this model that need no LoRA: the workers have their model open already. preview: a picture in
    base64, or None."""
    from facefact.generate.styles import check_fits, preview_of, styles

    found = []
    for style in styles():
        with suppress(UserError):
            check_fits(style, model=tools.opening.model)
            if style.lora is None:
                preview = preview_of(style)
                drawn = base64.b64encode(preview.read_bytes()).decode() if preview else None
                about = {name: getattr(style, name) for name in ("name", "title", "prompt", "licence")}
                found.append(about | {"preview": drawn})
    return found


def styled(tools: Tools, said: dict[str, Any]) -> dict[str, Any]:
    """said: style, settings. UserError: there is none of that name, or it does not fit this service's model."""
    from facefact.generate.styles import apply, check_fits, origin_of, styles

    style = next((one for one in styles() if one.name == said["style"]), None)  # no path of a caller is opened
    if style is None:
        raise UserError("there is no such style: GET /v1/styles lists them")
    check_fits(style, model=tools.opening.model)
    if style.lora is not None:
        raise UserError(f"the style {style.name} needs a LoRA, which this service has not opened")
    return apply(style, said["settings"]) | origin_of(style)


def likeness(tools: Tools, said: dict[str, Any], parts: Sequence[bytes]) -> list[dict[str, Any]]:
    """How like the person each picture is. said: suffixes of the first parts, which show the person. Without a
    calibration of this encoder the similarity says it alone."""
    from facefact.faces import open_picture
    from facefact.generate.likeness import encoder_name, similarities
    from facefact.generate.studio import find_person
    from facefact.metrics.likeness import load_calibrations

    suffixes = said["suffixes"]
    folder = Path(tempfile.mkdtemp(dir=tools.opening.scratch))
    try:
        paths = [folder / f"{number}{suffix}" for number, suffix in enumerate(suffixes)]
        for path, content in zip(paths, parts, strict=False):
            path.write_bytes(content)
        person = find_person(paths, detector=tools.detector)
        pictures = [open_picture(content) for content in parts[len(paths) :]]
        found = similarities(person, pictures, adapter=tools.adapter, detector=tools.detector)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    known = load_calibrations().get(encoder_name(tools.adapter.encoder))
    return [
        {
            "similarity": None if math.isnan(one) else round(float(one), 4),
            "likeness": None if known is None or math.isnan(one) else round(known.likeness(float(one)), 3),
            "words": "" if known is None else known.in_words(float(one)),
        }
        for one in found
    ]


def kept_manifest(title: str, content: bytes) -> list[bytes]:
    """One, or none: nothing that can be kept, or nothing here that could read it."""
    from facefact.generate.signing import keep_manifest

    with suppress(UserError):
        if (kept := keep_manifest(content, title)) is not None:
            return [kept]
    return []


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

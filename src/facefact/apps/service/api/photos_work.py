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
from pathlib import Path
from typing import Any

from facefact.apps.service.api.aside import Work
from facefact.apps.service.api.cards_work import check_card, looked_at, made_card, merged_card
from facefact.apps.service.api.photos_tools import Opening, Tools
from facefact.types import UserError

DRAWN_SIDE = 768  # pixels of the longer side of the picture that shows what was found


def open_photos(opening: Opening) -> Work:
    """`faces` of one picture; a `card` of one person's photos; `read` a card, `look` at one, `merge` several;
    `likeness` of pictures to a person, whose photos or cards come first; `styles` that fit the model; settings in a
    `style`; names of `loras`, whether there is a `lora`; `warm` opens the detector before it is needed, and says what
    the parts of the model are licensed under. `keep`: the Content Credentials of a file under a title, if they can be
    read."""
    shutil.rmtree(opening.scratch, ignore_errors=True)
    os.makedirs(opening.scratch, mode=0o700)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    tools = Tools(opening)

    def work(what: str, said: dict[str, Any], parts: Sequence[bytes]) -> tuple[dict[str, Any], Sequence[bytes]]:
        with warnings_of() as warned:
            if what == "card":
                return {"warnings": warned}, [made_card(tools, said, parts, warned)]
            if what == "merge":
                return {"warnings": warned}, [merged_card(tools, said, parts)]
            if what == "look":
                return looked_at(tools, parts[0]), []
            if what == "read":
                check_card(parts[0])
                return {}, []
            if what == "keep":
                return {}, kept_manifest(said["title"], parts[0])
            if what == "styles":
                return {"data": fitting_styles(tools)}, []
            if what == "style":
                return {"settings": styled(tools, said)}, []
            if what == "loras":
                return {"data": loras()}, []
            if what == "lora":
                check_lora(said["lora"])
                return {}, []
            if what == "likeness":
                return {"data": likeness(tools, said, parts), "warnings": warned}, []
            found = faces(tools, said, parts[0]) if what == "faces" else tools.about()
            return {**found, "warnings": warned}, []

    return work


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
    """Those for this model whose LoRA, if they have one, is here. preview: a picture in base64, or None."""
    from facefact.generate.styles import check_fits, lora_of, preview_of, styles

    found = []
    for style in styles():
        with suppress(UserError):
            check_fits(style, model=tools.opening.model)
            lora_of(style)
            preview = preview_of(style)
            drawn = base64.b64encode(preview.read_bytes()).decode() if preview else None
            about = {name: getattr(style, name) for name in ("name", "title", "prompt", "licence")}
            found.append(about | {"preview": drawn})
    return found


def styled(tools: Tools, said: dict[str, Any]) -> dict[str, Any]:
    """said: style, settings. UserError: there is none of that name, or it does not fit this service's model."""
    from facefact.generate.styles import apply, check_fits, lora_of, origin_of, styles

    style = next((one for one in styles() if one.name == said["style"]), None)  # no path of a caller is opened
    if style is None:
        raise UserError("there is no such style: GET /v1/styles lists them")
    check_fits(style, model=tools.opening.model)
    try:
        lora = lora_of(style)
    except UserError:
        needed = style.lora.file if style.lora else ""
        raise UserError(f"the style {style.name} needs the LoRA {needed}, which is not here") from None
    return apply(style, said["settings"]) | origin_of(style) | ({"style_lora": style.name} if lora else {})


def loras() -> list[dict[str, Any]]:
    """The LoRAs that may be named."""
    from facefact.generate.borrowed import named_loras

    return [{"name": name} for name in named_loras()]


def check_lora(name: str) -> None:
    """UserError: there is none of that name."""
    from facefact.generate.borrowed import named_lora

    named_lora(name)


def likeness(tools: Tools, said: dict[str, Any], parts: Sequence[bytes]) -> list[dict[str, Any]]:
    """How like the person each picture is. said: suffixes of the first parts, which show the person. Without a
    calibration of this encoder the similarity says it alone."""
    from facefact.faces import open_picture
    from facefact.generate.likeness import calibrations, encoder_name, similarities
    from facefact.generate.studio import find_person

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
    known = calibrations().get(encoder_name(tools.adapter.encoder))
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


def jpeg(pixels: Any) -> str:
    """In base64."""
    from PIL import Image

    image, out = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((DRAWN_SIDE, DRAWN_SIDE))
    image.save(out, format="JPEG", quality=85)
    return base64.b64encode(out.getvalue()).decode()


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

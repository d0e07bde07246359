"""Where the texts lie in the file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import ExifTags, Image

from facefact.generate import read_recipe
from facefact.generate.metadata import save_options
from facefact.generate.parameters import parameters_text
from facefact.generate.recipe import FORMATS, versions
from facefact.types import UserError

RECIPE: dict[str, Any] = {
    "kind": "text-to-image",
    "prompt": "Zoë in a <red> coat \u2028 \x0b & 雪",
    "negative_prompt": "",
    "seed": 7,
    "steps": 25,
    "scale": 0.7,
    "guidance_scale": 5.0,
    "face_guidance": True,
    "local": True,
    "width": 8,
    "height": 8,
    "scheduler": "PNDMScheduler",
    "versions": versions(),
}
DESCRIPTION = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
SOURCE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
TEXT = "{http://purl.org/dc/elements/1.1/}description"


def written(form: str, recipe: dict[str, Any]) -> Image.Image:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, format=form, **save_options(recipe, form))
    return Image.open(file)


def xmp(image: Image.Image) -> Any:
    packet = image.info["xmp"]
    return ElementTree.fromstring(packet).find(f".//{DESCRIPTION}")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("kind", "source"),
    [("text-to-image", "trainedAlgorithmicMedia"), ("inpainting", "compositeWithTrainedAlgorithmicMedia")],
)
def test_it_says_that_it_is_ai_generated(form: str, kind: str, source: str) -> None:
    image = written(form, RECIPE | {"kind": kind})
    assert xmp(image).find(SOURCE).text == f"http://cv.iptc.org/newscodes/digitalsourcetype/{source}"
    notice = {"PNG": image.info.get("Comment"), "JPEG": (image.info.get("comment") or b"").decode()}
    assert notice.get(form, "AI-generated") == "AI-generated"


def test_other_programs_find_the_text_where_they_look() -> None:
    text = parameters_text(RECIPE)
    assert written("PNG", RECIPE).info["parameters"] == text
    for form in ("JPEG", "WEBP"):
        image = written(form, RECIPE)
        exif = image.getexif()
        comment = exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
        assert comment == b"UNICODE\0" + text.encode("utf-16-be")  # as the web UI writes it
        assert exif[ExifTags.Base.Software] == f"facefact {versions()['facefact']}"
        assert "".join(xmp(image).find(TEXT).itertext()) == text.replace("\x0b", "\ufffd")  # XML has no such character


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_a_program_that_leaves_only_the_text_leaves_the_settings(tmp_path: Path, name: str) -> None:
    image = written(FORMATS[Path(name).suffix], RECIPE)
    kept = save_options(RECIPE, "JPEG")["exif"]
    image.save(tmp_path / name, exif=kept, pnginfo=None, xmp=b"")
    known = {field: value for field, value in RECIPE.items() if field != "versions"}
    assert read_recipe(tmp_path / name) == known


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_what_is_damaged_is_one_error(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form.lower()}"
    for exif, packet in [(b"Exif\0\0no", b""), (b"", b"<facefact:recipe>{</facefact:recipe>"), (b"", b"\xff")]:
        Image.new("RGB", (8, 8)).save(path, format=form, exif=exif, xmp=packet)
        with pytest.raises(UserError, match=r"recipe"):
            read_recipe(path)

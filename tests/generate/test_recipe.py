from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facefact.generate import file_hash, model_hash, read_recipe, save_portrait
from facefact.generate.recipe import parameters_line, versions
from facefact.types import Portrait, UserError

RECIPE: dict[str, Any] = {
    "kind": "text-to-image",
    "prompt": "Zoë in a <red> coat\u2028",
    "negative_prompt": "",
    "seed": 7,
    "steps": 25,
    "scale": 0.7,
    "guidance_scale": 5.0,
    "width": 8,
    "height": 8,
    "scheduler": "PNDMScheduler",
    "model": {"name": "demo", "sha256": "0123456789abcdef"},
    "versions": versions(),
}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.png"
    save_portrait(Portrait(Image.new("RGB", (8, 8), "red"), RECIPE), path)
    assert read_recipe(path) == RECIPE
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]  # no temporary file is left


@pytest.mark.parametrize(
    ("kind", "source"),
    [("text-to-image", "trainedAlgorithmicMedia"), ("inpainting", "compositeWithTrainedAlgorithmicMedia")],
)
def test_it_says_that_it_is_ai_generated(tmp_path: Path, kind: str, source: str) -> None:
    path = tmp_path / "a.png"
    save_portrait(Portrait(Image.new("RGB", (8, 8)), RECIPE | {"kind": kind}), path)
    with Image.open(path) as image:
        xmp = image.getxmp() if _has_xml_reader() else {}
        text = image.info["XML:com.adobe.xmp"]
        assert image.info["Comment"] == "AI-generated"
    assert f"<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/{source}<" in text
    if xmp:
        assert xmp["xmpmeta"]["RDF"]["Description"]["DigitalSourceType"].endswith(f"/{source}")


def _has_xml_reader() -> bool:
    try:
        import defusedxml  # noqa: F401
    except ImportError:
        return False
    return True


def test_parameters_line() -> None:
    line = parameters_line(RECIPE | {"prompt": "a coat", "negative_prompt": "snow"})
    assert line == (
        "a coat\nNegative prompt: snow\nSteps: 25, Sampler: PNDMScheduler, CFG scale: 5.0, Seed: 7, Size: 8x8, "
        "Face scale: 0.7, Model hash: 0123456789"
    )


def test_pictures_without_a_recipe(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, message in [("plain.png", "carries no recipe"), ("text.png", "cannot read"), ("none.png", "cannot read")]:
        with pytest.raises(UserError, match=message):
            read_recipe(tmp_path / name)


def test_hashes_are_of_content(tmp_path: Path, pipe: Any) -> None:
    (tmp_path / "empty").touch()
    assert file_hash(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for name in ("a", "b"):
        pipe.save_pretrained(tmp_path / name)
    (tmp_path / "b" / "adapter").mkdir()
    (tmp_path / "b" / "adapter" / "config.json").write_text("{}")  # not of the pipeline
    first = model_hash(tmp_path / "a")
    assert first == model_hash(tmp_path / "b")
    config = tmp_path / "b" / "unet" / "config.json"
    config.write_text(config.read_text() + " ")
    assert first != model_hash(tmp_path / "b")

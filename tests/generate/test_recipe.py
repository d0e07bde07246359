from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facefact.generate import file_hash, model_hash, read_recipe, save_portrait
from facefact.generate.recipe import versions
from facefact.types import Portrait, UserError

NAMES = ["a.png", "a.jpg", "a.webp"]
RECIPE: dict[str, Any] = {
    "kind": "text-to-image",
    "prompt": "Zoë in a <red> coat\u2028",
    "negative_prompt": "",
    "seed": 7,
    "steps": 25,
    "scale": 0.7,
    "guidance_scale": 5.0,
    "face_guidance": True,
    "width": 8,
    "height": 8,
    "scheduler": "PNDMScheduler",
    "model": {"name": "demo", "sha256": "0123456789abcdef"},
    "versions": versions(),
}


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    save_portrait(Portrait(Image.new("RGB", (8, 8), "red"), RECIPE), path)
    assert read_recipe(path) == RECIPE
    assert [file.name for file in path.parent.iterdir()] == [name]  # no temporary file is left


def test_recipes_older_than_the_choice_are_of_the_only_way_there_was(tmp_path: Path) -> None:
    older = {field: value for field, value in RECIPE.items() if field != "face_guidance"}
    save_portrait(Portrait(Image.new("RGB", (8, 8), "red"), older), tmp_path / "a.png")
    assert read_recipe(tmp_path / "a.png") == RECIPE


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_every_pixel_and_the_profile_are_kept(tmp_path: Path, name: str) -> None:
    image = Image.effect_noise((16, 16), 99).convert("RGBA")
    image.putalpha(Image.effect_noise((16, 16), 300))
    image.info["icc_profile"] = b"a profile"
    save_portrait(Portrait(image, RECIPE), tmp_path / name)
    with Image.open(tmp_path / name) as read:
        assert read.tobytes() == image.tobytes()
        assert read.info["icc_profile"] == b"a profile"


def test_a_jpeg_keeps_the_profile_too(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8))
    image.info["icc_profile"] = b"a profile"
    save_portrait(Portrait(image, RECIPE), tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as read:
        assert read.info["icc_profile"] == b"a profile"


def test_what_a_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    opaque, clear = Image.new("RGB", (8, 8)), Image.new("RGBA", (8, 8))
    with pytest.raises(UserError, match=r"a\.tiff: portraits are written as \.png, \.jpg, \.jpeg, \.webp"):
        save_portrait(Portrait(opaque, RECIPE), tmp_path / "a.tiff")
    with pytest.raises(UserError, match=r"a\.jpg: a JPEG has no transparency"):
        save_portrait(Portrait(clear, RECIPE), tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"a\.jpg: .*too long \(a PNG has no such limit\)"):
        save_portrait(Portrait(opaque, RECIPE | {"prompt": "a" * 40_000}), tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*a\.png"):
        save_portrait(Portrait(opaque, RECIPE), tmp_path / "file" / "a.png")


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

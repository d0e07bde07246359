"""A style's file: what is written is what is read, FaceChain's are understood, and damage is one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facefact.generate.style_file import LoraOfStyle, Style, StyleSettings, read_style, slug, write_style
from facefact.types import UserError

WHOLE = Style(
    name="snow-2",
    family="sd15",
    title="Schnee, ganz weiß",
    prompt="a film still of {prompt}, snow: deep",
    negative_prompt="rain",
    lora=LoraOfStyle(file="snow.safetensors", weight=0.6, source="owner/name"),
    settings=StyleSettings(steps=30, scale=0.5, local=True),
    preview="snow.png",
    licence="Apache-2.0",
)
# As FaceChain's files are laid out.
FACECHAIN: dict[str, Any] = {
    "name": "雪(Snow style)",
    "img": "./style_image/Deep_Snow.jpg",
    "model_id": "owner/snow_lora",
    "revision": "v1.0",
    "bin_file": "snow.safetensors",
    "multiplier_style": 0.35,
    "multiplier_human": 0.95,
    "add_prompt_style": "snow, (pine trees:1.2)",
}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_style(WHOLE, tmp_path / "one.yaml")
    assert read_style(tmp_path / "one.yaml") == replace(WHOLE, path=tmp_path / "one.yaml")
    small = Style(name="small", family="photo", prompt="snow")
    write_style(small, tmp_path / "small.yaml")
    assert (tmp_path / "small.yaml").read_text() == "name: small\nfamily: photo\nprompt: snow\n"
    as_json = {"name": "small", "family": "photo", "prompt": "snow"}
    (tmp_path / "small.json").write_text(json.dumps(as_json))
    assert read_style(tmp_path / "small.json").prompt == read_style(tmp_path / "small.yaml").prompt == "snow"


def test_the_digest_is_of_what_decides_a_picture() -> None:
    assert replace(WHOLE, title="", preview=None, licence="", path=Path("x")).digest == WHOLE.digest
    others = [replace(WHOLE, prompt="x"), replace(WHOLE, settings=StyleSettings(steps=31)), replace(WHOLE, lora=None)]
    assert len({one.digest for one in [WHOLE, *others]}) == 4


def test_facechains_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "styles/a_base_model"
    folder.mkdir(parents=True)
    path = folder / "Deep_Snow.json"
    path.write_text(json.dumps(FACECHAIN, ensure_ascii=False), encoding="utf-8")
    style = read_style(path)
    assert (style.name, style.title, style.family) == ("deep-snow", "雪(Snow style)", "sd15")
    assert style.prompt == "snow, (pine trees:1.2)"
    assert style.lora == LoraOfStyle(
        file="snow.safetensors", weight=0.35, source="owner/snow_lora at ModelScope, revision v1.0"
    )
    assert (style.preview, style.licence) == (None, "")
    (tmp_path / "style_image").mkdir()
    Image.new("RGB", (8, 8), "white").save(tmp_path / "style_image/Deep_Snow.jpg")
    shown = read_style(path).preview
    assert shown is not None
    assert (folder / shown).resolve() == tmp_path / "style_image/Deep_Snow.jpg"
    path.write_text(json.dumps(FACECHAIN | {"model_id": None, "revision": None, "bin_file": None}))
    assert read_style(path).lora is None


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.yaml", "name: a\nfamily: photo\nprompt: x\ncolour: red", "unknown setting colour"),
        ("a.yaml", "family: photo\nprompt: x", "setting name is missing"),
        ("a.yaml", "name: a\nprompt: x", "setting family is missing"),
        ("a.yaml", "name: a\nfamily: films\nprompt: x", "'films' is not one of demo, photo, sd15, sdxl"),
        ("a.yaml", "name: a\nfamily: photo", "says nothing"),
        ("a.yaml", "name: ../a\nfamily: photo\nprompt: x", "is no name"),
        ("a.yaml", "name: a\nfamily: photo\nprompt: x\nsteps: 3", "steps belongs under `settings:`"),
        ("a.yaml", "name: a\nfamily: photo\nprompt: x\npath: /etc", "unknown setting path"),
        ("a.yaml", "name: a\nfamily: photo\nsettings: {steps: 0}", "0 steps make no picture"),
        ("a.yaml", "name: a\nfamily: photo\nsettings: {scale: .nan}", "not finite"),
        ("a.yaml", "name: a\nfamily: photo\nsettings: {seed: 3}", "unknown setting settings.seed"),
        ("a.yaml", "name: a\nfamily: photo\nprompt: '{prompt} {prompt}'", "more than once"),
        ("a.yaml", "name: a\nfamily: photo\nlora: {file: ../x.safetensors}", "no plain file name"),
        (
            "a.yaml",
            "name: a\nfamily: photo\nprompt: x\npreview: ../../secret.png",
            "no plain file name: it lies beside",
        ),
        ("a.yaml", "name: a\nfamily: photo\nprompt: x\npreview: x.txt", "no picture's name"),
        ("a.yaml", f"name: a\nfamily: photo\nprompt: {'x' * 2001}", "more than 2000 characters"),
        ("a.yaml", f"name: a # {'x' * 70_000}", "more than 65536 bytes"),
        ("a.yaml", "name: [", "is damaged"),
        ("a.yaml", "- a", "holds no `name: value` lines"),
        ("a.yaml", "!!python/object/apply:os.system ['true']", "is damaged"),
        ("a.json", "{", "is damaged"),
        ("a.json", "[" * 60_000, "is damaged"),
        ("a.txt", "name: a", "name ends with .yaml"),
        ("a.json", json.dumps({"add_prompt_style": "snow"}), "FaceChain's and has no name"),
        ("a.json", json.dumps(FACECHAIN | {"multiplier_style": "much"}), "multiplier_style is a number"),
        ("a.json", json.dumps(FACECHAIN | {"bin_file": "../x.safetensors"}), "no plain file name"),
        ("a.json", json.dumps(FACECHAIN | {"name": 3}), "are texts"),
    ],
)
def test_damage_is_one_line_that_names_the_file(tmp_path: Path, name: str, text: str, line: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as refused:
        read_style(tmp_path / name)
    assert line in str(refused.value)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_no_text_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_style(tmp_path / "none.yaml")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is damaged"):
        read_style(tmp_path / "binary.json")


def test_slugs() -> None:
    assert (slug("Deep_Snow"), slug("T-shirt"), slug(" 2 Fast! ")) == ("deep-snow", "t-shirt", "2-fast")

"""Our styles, the user's own, and what one does to a picture's settings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from facefact.generate import Settings, Studio, list_models, read_recipe
from facefact.generate.demo_model import WORD, settings_for
from facefact.generate.style_file import LoraOfStyle, Style, StyleSettings, read_style, write_style
from facefact.generate.styles import (
    add_style,
    apply,
    check_fits,
    find_style,
    is_ours,
    lora_of,
    origin_of,
    preview_of,
    save_preview,
    styles,
    styles_dir,
    worded,
)
from facefact.types import UserError
from facefact.world import corpus
from tiny import tiny_pipeline

SNOW = Style(name="snow", family="photo", prompt="deep snow", negative_prompt="rain", settings=StyleSettings(steps=9))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEFACT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_dozen_of_each_ship_and_all_are_sound() -> None:
    ours = styles()
    assert all(map(is_ours, ours))
    count = {family: sum(style.family == family for style in ours) for family in ("demo", "photo")}
    assert count["demo"] >= 12
    assert count["photo"] >= 12
    assert len({style.name for style in ours}) == len({style.prompt for style in ours}) == len(ours)
    for style in ours:
        assert style.path is not None
        assert style.path.stem == style.name
        assert style.title
        assert style.licence == "Apache-2.0"
        assert style.lora is None


def test_the_embedded_models_styles_say_what_its_captions_say() -> None:
    captions = [part for caption in corpus() for part in caption.split(", ")]
    colours = r"\b(black|brown|blond|red|grey|blue|green|yellow|white)\b"
    known = {re.sub(colours, "COLOUR", part) for part in captions}
    words = set(WORD.findall(" ".join(corpus())))
    for style in (one for one in styles() if one.family == "demo"):
        for part in style.prompt.split(", "):
            assert re.sub(colours, "COLOUR", part) in known, f"{style.name}: {part}"
            assert set(WORD.findall(part)) <= words
        settings = settings_for("demo", Settings, **apply(style, {}))
        assert settings.prompt.startswith("portrait of a person, ")


def test_the_embedded_models_previews_ship_with_their_recipe() -> None:
    for style in (one for one in styles() if one.family == "demo"):
        path = preview_of(style)
        assert path is not None, f"draw them: facefact styles preview --format webp --out {style.path}"
        assert path.stat().st_size < 15_000
        recipe = read_recipe(path)
        assert recipe["style"] == origin_of(style)["style"], f"{style.name}: the preview is of other words"
        assert recipe["model"]["name"] == "demo"
        with Image.open(path) as image:
            assert image.size == (128, 128)


def test_what_is_said_goes_before_the_style_and_that_before_nothing() -> None:
    said = apply(SNOW, {"prompt": "a red coat", "seed": 4, "scale": None, "negative_prompt": "hats"})
    assert said == {"prompt": "a red coat, deep snow", "negative_prompt": "hats, rain", "steps": 9, "seed": 4}
    assert apply(SNOW, {"steps": 3, "prompt": "x"})["steps"] == 3
    assert apply(SNOW, {})["prompt"] == "portrait of a person, deep snow"
    framed = replace(SNOW, prompt="a still of {prompt}, snow")
    assert worded(framed, " a red coat ") == "a still of a red coat, snow"
    assert worded(framed, "") == "a still of portrait of a person, snow"
    assert worded(replace(SNOW, prompt=""), "a coat") == "a coat"


def test_of_the_embedded_models_words_those_that_the_prompt_names_are_left_out() -> None:
    style = Style(name="x", family="demo", prompt="smiling, with a cap, in a red suit, in the snow, cool light")
    assert worded(style, "portrait of a person, laughing, in a blue hoodie") == (
        "portrait of a person, laughing, in a blue hoodie, with a cap, in the snow, cool light"
    )
    assert worded(replace(style, family="photo"), "laughing") == f"laughing, {style.prompt}"


def test_a_style_for_other_models_is_refused(pipe: Any) -> None:
    demo = replace(SNOW, family="demo")
    check_fits(demo, model="demo")
    check_fits(SNOW, model="path/to/sd15")
    for style, model in ((demo, "path/to/sd15"), (SNOW, "demo"), (replace(SNOW, family="sdxl"), "demo")):
        with pytest.raises(UserError, match="the style snow is for"):
            check_fits(style, model=model)
    check_fits(replace(SNOW, family="sdxl"), model="other")  # until the model is open, nobody knows
    wide = tiny_pipeline(width=768)
    with pytest.raises(UserError, match="models of the kind sdxl, and this one is sd15"):
        check_fits(replace(SNOW, family="sdxl"), model="other", pipe=wide)
    for style, opened in ((SNOW, wide), (replace(SNOW, family="sd15"), wide), (replace(SNOW, family="sdxl"), pipe)):
        check_fits(style, model="other", pipe=opened)


def test_names_are_found_and_the_nearest_is_named(tmp_path: Path) -> None:
    assert find_style("film-noir").family == "photo"
    with pytest.raises(UserError, match=re.escape("did you mean film-noir?")):
        find_style("film-nour")
    with pytest.raises(UserError, match="facefact styles list"):
        find_style("xyz")
    write_style(SNOW, tmp_path / "mine.yaml")
    assert find_style(tmp_path / "mine.yaml").name == "snow"


def test_the_users_own_are_added_whole_and_their_folder_is_no_model(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.new("RGB", (8, 8), "white").save(tmp_path / "seen.PNG")
    (tmp_path / "l.safetensors").write_bytes(b"weights")
    style = replace(SNOW, lora=LoraOfStyle(file="l.safetensors", weight=0.5), preview="seen.PNG")
    write_style(style, tmp_path / "snow.yaml")
    added = add_style(tmp_path / "snow.yaml")
    for name in ("seen.PNG", "l.safetensors", "snow.yaml"):
        (tmp_path / name).unlink()
    assert find_style("snow") == added
    assert added in styles()
    assert not is_ours(added)
    assert lora_of(added) == f"{styles_dir() / 'l.safetensors'}:0.5"
    assert preview_of(added) == styles_dir() / "snow.png"
    assert list(list_models()) == []
    write_style(SNOW, tmp_path / "snow.yaml")
    with pytest.raises(UserError, match="already there: choose another --name, or say --overwrite"):
        add_style(tmp_path / "snow.yaml")
    assert add_style(tmp_path / "snow.yaml", overwrite=True).lora is None
    with pytest.raises(UserError, match="is here already, and stays"):
        add_style(tmp_path / "snow.yaml", name="film-noir")
    with pytest.raises(UserError, match="is no name"):
        add_style(tmp_path / "snow.yaml", name="Film Noir")
    (home / "styles/broken.yaml").write_text("name: [")
    assert "snow" in {one.name for one in styles()}
    assert "broken.yaml: is damaged" in caplog.text


def test_a_lora_that_is_not_here_is_named_with_where_it_can_be_had(tmp_path: Path) -> None:
    lora = LoraOfStyle(file="l.safetensors", source="owner/name at ModelScope")
    write_style(replace(SNOW, lora=lora), tmp_path / "snow.yaml")
    with pytest.raises(UserError, match=re.escape("needs the LoRA l.safetensors (it can be had from owner/name")):
        lora_of(read_style(tmp_path / "snow.yaml"))
    with pytest.raises(UserError, match="needs the LoRA"):
        add_style(tmp_path / "snow.yaml")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/other.safetensors").write_bytes(b"weights")
    added = add_style(tmp_path / "snow.yaml", lora=tmp_path / "elsewhere/other.safetensors")
    assert lora_of(added) == f"{styles_dir() / 'other.safetensors'}:1.0"
    write_style(SNOW, tmp_path / "plain.yaml")
    with pytest.raises(UserError, match="has no LoRA"):
        add_style(tmp_path / "plain.yaml", name="plain", lora=tmp_path / "elsewhere/other.safetensors")


def test_a_preview_that_was_drawn_here_goes_first_and_keeps_its_recipe(pipe: Any, adapter: Any) -> None:
    with torch.no_grad():
        tokens = adapter.tokens(torch.zeros(1, 3, 112, 112))
    made = Studio(pipe, adapter).text_to_image(tokens, Settings(prompt="x", steps=1), origin=origin_of(SNOW))
    style = find_style("film-noir")
    assert preview_of(style) is None  # (no photo model ships, so no preview of photos does)
    for suffix in (".webp", ".png"):
        path = styles_dir() / "previews" / f"film-noir{suffix}"
        save_preview(made, path)
        assert preview_of(style) == path
        assert read_recipe(path)["style"] == {"name": "snow", "sha256": SNOW.digest}

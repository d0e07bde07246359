"""Ours and other programs' pictures, whole, changed and hostile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from facefact.generate import save_portrait
from facefact.generate.known import known_of
from facefact.generate.metadata import save_options
from facefact.generate.provenance import marked
from facefact.generate.recipe import versions
from facefact.types import Portrait, UserError
from facefact.world import look, person, render

RECIPE: dict[str, Any] = {
    "kind": "text-to-image",
    "prompt": "a red coat",
    "negative_prompt": "",
    "width": 128,
    "height": 128,
    "versions": versions(),
}
WEB_UI = "a castle\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, Seed: 3, Size: 512x512, Model: dream"


def picture(size: int = 128) -> Image.Image:
    return Image.fromarray(render(person(0), look(0), size=size).image)


def texts(**chunks: str) -> dict[str, Any]:
    info = PngImagePlugin.PngInfo()
    for name, text in chunks.items():
        info.add_text(name, text)
    return {"pnginfo": info}


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_ours_is_known_by_its_recipe(tmp_path: Path, name: str) -> None:
    save_portrait(Portrait(picture(), RECIPE), tmp_path / name)
    known = known_of(tmp_path / name)
    assert (known.program, known.recipe, known.source) == ("facefact", RECIPE, "trainedAlgorithmicMedia")
    assert known.ours
    assert known.signature is None
    assert not known.mark.found
    assert not known.broken


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_the_mark_stays_when_all_that_is_said_is_taken_away(tmp_path: Path, name: str) -> None:
    marked(Portrait(picture(256), RECIPE)).image.save(tmp_path / name)
    known = known_of(tmp_path / name)
    assert (known.program, known.source) == ("", "")
    assert known.mark.found
    assert known.ours


def test_of_a_transparent_picture_the_colours_below_are_read(tmp_path: Path) -> None:
    clear = picture(256).convert("RGBA")
    clear.putalpha(0)
    save_portrait(marked(Portrait(clear, RECIPE)), tmp_path / "a.png")
    assert known_of(tmp_path / "a.png").mark.found


def test_other_programs_are_named(tmp_path: Path) -> None:
    picture().save(tmp_path / "web.png", **texts(parameters=WEB_UI))
    picture().save(tmp_path / "comfy.png", **texts(prompt=json.dumps({"3": {"class_type": "KSampler"}})))
    picture().save(tmp_path / "invoke.png", **texts(invokeai_metadata="{}"))
    picture().save(tmp_path / "camera.jpg")
    web = known_of(tmp_path / "web.png")
    assert web.program == "Stable Diffusion web UI"
    assert (web.recipe["prompt"], web.recipe["negative_prompt"], web.recipe["Seed"]) == ("a castle", "fog", "3")
    assert known_of(tmp_path / "comfy.png").program == "ComfyUI"
    assert known_of(tmp_path / "invoke.png").program == "InvokeAI"
    assert known_of(tmp_path / "camera.jpg").program == ""
    assert not any(known_of(path).ours for path in tmp_path.iterdir())


def test_what_is_damaged_or_hostile_is_one_line(tmp_path: Path) -> None:
    picture().save(tmp_path / "damaged.png", **texts(facefact="{"))
    assert known_of(tmp_path / "damaged.png").program == "damaged"
    picture().save(tmp_path / "deep.png", **texts(facefact="[" * 50_000))
    assert known_of(tmp_path / "deep.png").program == "damaged"
    picture().save(tmp_path / "list.png", **texts(facefact="[1]"))
    assert not known_of(tmp_path / "list.png").ours
    whole = tmp_path / "whole.jpg"
    picture().save(whole, **save_options(RECIPE, "JPEG"))
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:-200])
    (tmp_path / "svg.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "empty.webp").touch()
    for name in ("cut.jpg", "svg.png", "empty.webp", "none.png"):
        with pytest.raises(UserError) as caught:
            known_of(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)

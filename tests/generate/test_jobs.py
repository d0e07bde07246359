"""Pictures as files: which are wanted, finished, refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from facefact.generate import Settings
from facefact.generate.jobs import finished, make_portraits, refuse_to_overwrite, wanted
from facefact.generate.recipe import versions
from facefact.types import Portrait, UserError

ORIGIN = {"faces": ["a"]}
SETTINGS = Settings(prompt="a coat", seed=7, steps=2)


def make(settings: list[Settings]) -> Iterator[Portrait]:
    for one in settings:
        recipe = {"kind": "text-to-image", "scheduler": "none", "versions": versions()} | vars(one) | ORIGIN
        yield Portrait(Image.new("RGB", (8, 8)), recipe | {"width": 8, "height": 8})


def test_every_prompt_with_every_seed() -> None:
    one = wanted(Path("out"), SETTINGS, ["a hat"], count=2)
    assert {path.as_posix(): (one.prompt, one.seed) for path, one in one.items()} == {
        "out/portrait-7.png": ("a hat", 7),
        "out/portrait-8.png": ("a hat", 8),
    }
    assert all(settings.steps == 2 for settings in one.values())
    several = wanted(Path("out"), SETTINGS, ["a hat", "snow"])
    assert {path.name: settings.prompt for path, settings in several.items()} == {
        "portrait-1-7.png": "a hat",
        "portrait-2-7.png": "snow",
    }
    names = [path.name for form in ("jpeg", "webp") for path in wanted(Path("out"), SETTINGS, ["a hat"], form=form)]
    assert names == ["portrait-7.jpg", "portrait-7.webp"]


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_each_is_saved_before_the_next_is_made(tmp_path: Path, form: str) -> None:
    pictures = wanted(tmp_path / "out", SETTINGS, ["a hat"], count=3, form=form)
    made = make_portraits(pictures, make)
    path, recipe = next(made)
    assert list((tmp_path / "out").iterdir()) == [path]
    assert finished(pictures, ORIGIN) == {path: recipe}
    assert [other for other, _ in made] == list(pictures)[1:]
    assert list(finished(pictures, ORIGIN)) == list(pictures)


def test_what_is_there_is_kept_only_if_it_is_what_is_wanted(tmp_path: Path) -> None:
    pictures = wanted(tmp_path, SETTINGS, ["a hat"])
    refuse_to_overwrite(pictures)
    list(make_portraits(pictures, make))
    with pytest.raises(UserError, match=r"portrait-7\.png is already there"):
        refuse_to_overwrite(pictures)
    with pytest.raises(UserError, match="has another `prompt`"):
        finished(wanted(tmp_path, SETTINGS, ["snow"]), ORIGIN)
    with pytest.raises(UserError, match="has another `faces`"):
        finished(pictures, {"faces": ["b"]})
    next(iter(pictures)).write_text("precious")
    with pytest.raises(UserError, match=r"is a file, no folder for pictures: choose another --out"):
        wanted(next(iter(pictures)), SETTINGS, ["a hat"])
    with pytest.raises(UserError, match="cannot read a recipe"):
        finished(pictures, ORIGIN)

"""`facefact group` from the command line, on a tiny model in a directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefact.apps import cli
from facefact.faces import face_from_landmarks
from facefact.generate import read_recipe
from inpainting import POINTS, FixedDetector
from tiny import save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline directory with an adapter inside."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def call(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In a folder with photos of two people and a picture of a group."""
    large, small = (face_from_landmarks(POINTS * scale + where) for scale, where in [(1.0, 20), (0.6, 140)])
    monkeypatch.setattr("facefact.faces.get_detector", lambda *args, **kwargs: FixedDetector(large, small))
    for number, name in enumerate(("me.png", "ada.png", "group.png")):
        pixels = np.random.default_rng(number).integers(0, 256, (240, 260, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    words = f"--prompt people --model {model} --steps 2 --device cpu --json"
    return ["group", *words.split()]


def made(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (one,) = json.loads(capsys.readouterr().out)["portraits"]
    assert read_recipe(one["file"]) == one["recipe"]
    return one["recipe"]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err.strip().splitlines()
    return error[-1]


def test_boxes_words_and_the_recipe(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    left, right = "0,0,0.5,1", "0.5,0,1,1"
    put = ["--put", f"{left}=me.png", "--put", f"{right}=ada.png", "--put", f"{left}=group.png"]
    assert cli.main([*call, *put, "--words", f"{right}=a blue hat", "--width", "128", "--height", "64"]) == 0
    recipe = made(capsys)
    assert recipe["kind"] == "group"
    assert (recipe["width"], recipe["height"], recipe["words"]) == (128, 64, ["", "a blue hat"])
    assert [(one["place"], len(one["faces"])) for one in recipe["people"]] == [(left, 2), (right, 1)]
    again = [*call, *put, "--words", f"{right}=a blue hat", "--width", "128", "--height", "64", "--resume"]
    assert cli.main(again) == 0
    assert made(capsys) == recipe
    assert cli.main([*again[:-1], "--overwrite", "--steps", "1"]) == 0
    assert made(capsys)["steps"] == 1


def test_a_layout(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, 8:60], picture[:, 70:] = (0, 255, 0), (255, 0, 0)
    Image.fromarray(picture).save("layout.png")
    assert cli.main([*call, "--layout", "layout.png", "--put", "1=me.png", "--put", "0=ada.png"]) == 0
    recipe = made(capsys)
    assert [one["place"] for one in recipe["people"]] == ["1", "0"]
    assert len(recipe["layout"]) == 64
    assert cli.main([*call, "--layout", "layout.png", "--put", "2=me.png", "--out", "other"]) == 2
    assert "layout.png has 2 regions, numbered from 0" in said(capsys)


@pytest.mark.parametrize("more", [[], ["--head"]])
def test_a_template(more: list[str], call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [*call, "--template", "group.png", "--put", "0=me.png", "--put", "1=ada.png", *more]
    assert cli.main(words) == 0
    recipe = made(capsys)
    assert recipe["kind"] == "group in a template"
    assert (recipe["strength"], recipe.get("head")) == (0.8, True if more else None)
    new, old = (np.asarray(Image.open(name)) for name in ("out/portrait-0.png", "group.png"))
    assert new.shape == old.shape
    assert (new != old).any()
    assert more or np.array_equal(new[:, 230:], old[:, 230:])
    assert cli.main([*call, "--template", "group.png", "--put", "5=me.png", "--out", "other"]) == 2
    assert "group.png has 2 faces" in said(capsys)


def test_nobody_said_where(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*call, "--put", "me.png", "--put", "ada.png"]) == 0
    recipe = made(capsys)
    assert [one["place"] for one in recipe["people"]] == ["found", "found"]
    assert recipe["local"] is True


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--put 0,0,2,1=me.png", "is no box"),
        ("--put 0,0,0.5,1=me.png --put ada.png", "some of the --put have a place and others none"),
        ("--put 0,0,0.5,1=me.png --words 1,0,1,1=hat", "with a place of one of the --put"),
        ("--put me.png --head", "about a --template"),
        ("--put 0=me.png --layout group.png --template group.png", "choose one"),
        ("--put nobody.png", "nobody.png"),
        ("--put above=me.png", "'above' names no place"),
    ],
)
def test_what_is_refused(words: str, line: str, call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*call, *words.split()]) == 2
    assert line in said(capsys)


def test_words_name_faces_of_a_template(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The larger face, number 0, is the one at the left."""
    template = [*call, "--template", "group.png"]
    assert cli.main([*template, "--put", "The woman on the  left=me.png", "--put", "second=ada.png"]) == 0
    recipe = made(capsys)
    assert [one["place"] for one in recipe["people"]] == ["the woman on the left", "second"]
    assert recipe["way"] == "squares"
    assert cli.main([*template, "--put", "0=me.png", "--put", "1=ada.png", "--out", "numbered"]) == 0
    assert cli.main([*template, "--put", "me.png", "--put", "ada.png", "--out", "nothing-said"]) == 0
    named, numbered, ordered = (
        np.asarray(Image.open(f"{name}/portrait-0.png")) for name in ("out", "numbered", "nothing-said")
    )
    np.testing.assert_array_equal(named, numbered)
    np.testing.assert_array_equal(named, ordered)
    capsys.readouterr()
    assert cli.main([*template, "--put", "left=me.png", "--put", "0=ada.png", "--out", "other"]) == 2
    assert "'left' and '0' are the same" in said(capsys)
    assert cli.main([*template, "--put", "middle=me.png", "--out", "other"]) == 2
    assert "group.png: 'middle': 2 people have nobody in the middle" in said(capsys)


def test_words_put_people_into_an_order(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--way", "portraits", "--width", "128", "--height", "64", "--batch", "2"]
    assert cli.main([*call, *more, "--put", "right=me.png", "--put", "left=ada.png"]) == 0
    assert [one["place"] for one in made(capsys)["people"]] == ["left", "right"]


@pytest.mark.parametrize("way", ["together", "squares"])
def test_a_group_is_made_again(way: str, call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    put = ["--put", "0=me.png", "--put", "1=ada.png", "--template", "group.png"]
    assert cli.main([*call, *put, "--words", "1=a hat", "--seed", "5", "--strength", "0.6", "--way", way]) == 0
    before = made(capsys)
    again = ["group", "--recipe", "out/portrait-5.png", *put, "--out", "again", "--json"]
    model = ["--model", *call[call.index("--model") + 1 :][:1], "--device", "cpu"]
    assert cli.main([*again, *model]) == 0
    after = made(capsys)
    assert after == before
    one, two = (np.asarray(Image.open(f"{name}/portrait-5.png")) for name in ("out", "again"))
    np.testing.assert_array_equal(one, two)
    refused = [*model, "--out", "other"]
    assert cli.main(["group", "--recipe", "out/portrait-5.png", *put[:2], *put[4:], *refused]) == 2
    assert "shows 2 people and --put names 1" in said(capsys)
    assert cli.main(["group", "--recipe", "out/portrait-5.png", *put[:4], *refused]) == 2
    assert "made with a --template" in said(capsys)
    assert cli.main(["generate", "--recipe", "out/portrait-5.png", "--face", "me.png", *refused]) == 2
    assert "`facefact group --recipe` makes it again" in said(capsys)

"""`facefact card` as a user types it."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefact.apps import cli
from facefact.apps.commands.card import expiry
from facefact.data.recognisers import AVATAR_ENCODER, open_transface
from facefact.encoder import load_card
from facefact.encoder.card import today
from facefact.generate import read_recipe
from facefact.generate.likeness import encoder_name
from facefact.metrics.likeness import load_calibrations
from facefact.types import UserError
from facefact.world import look, person, render
from portraits import people
from tiny import save_tiny_model

PROMPT = "portrait of a person, smiling"
QUICK = ["--steps", "2", "--device", "cpu", "--model", "tiny"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ada.png, bob.png, their cards for a tiny model, and the model."""
    folder = tmp_path_factory.mktemp("cards")
    save_tiny_model(folder / "tiny")
    for name, number in (("ada", 81), ("bob", 82)):
        Image.fromarray(render(person(number), look(90, glasses="none"), size=160).image).save(folder / f"{name}.png")
        said = ["--name", name.title(), "--consent", f"{name} said yes", "--expires", "90d", "--model", folder / "tiny"]
        said += ["--thumbnail"] if name == "ada" else []
        assert run("card", "make", "--face", folder / f"{name}.png", "-o", folder / f"{name}.safetensors", *said) == 0
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: Any) -> int:
    return cli.main([str(word) for word in words])


def error(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    capsys.readouterr()
    assert run(*words) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("facefact: error: ")
    return said


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_card_makes_the_photos_picture_and_replays(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ada.png", "ada.safetensors"):
        assert run("generate", "--face", name, "--prompt", PROMPT, "--seed", 3, "--out", f"by-{name}", *QUICK) == 0
    by_photo, by_card = (here / f"by-{name}/portrait-3.png" for name in ("ada.png", "ada.safetensors"))
    assert np.array_equal(pixels(by_photo), pixels(by_card))
    assert read_recipe(by_card)["cards"] == read_recipe(by_card)["faces"]
    assert "cards" not in read_recipe(by_photo)
    capsys.readouterr()
    assert run("generate", "--recipe", by_card, "--face", "ada.safetensors", "--out", "again", "--device", "cpu") == 0
    assert "warning" not in capsys.readouterr().err
    assert np.array_equal(pixels(here / "again/portrait-3.png"), pixels(by_card))


def test_a_card_replaces_a_face_and_stands_in_a_group(here: Path) -> None:
    put = ["--put", "0=ada.safetensors", "--template", "bob.png", "--prompt", PROMPT]
    assert run("inpaint", *put, "--out", "in", *QUICK) == 0
    assert len(read_recipe(here / "in/portrait-0.png")["put"]["0"]["cards"]) == 1
    put = ["--put", "0,0,0.5,1=ada.safetensors", "--put", "0.5,0,1,1=bob.png", "--prompt", PROMPT]
    assert run("group", *put, "--width", 128, "--height", 64, "--out", "group", *QUICK) == 0
    assert ["cards" in one for one in read_recipe(here / "group/portrait-0.png")["people"]] == [True, False]


def test_show_says_what_a_card_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("card", "show", "ada.safetensors") == 0
    said = capsys.readouterr().out
    for part in ("Ada", "avatar: quality", "with tiny", "(90 days left)", "consent: ada said yes", "thumbnail: "):
        assert part in said
    assert "OTHERS" not in said
    os.chmod("bob.safetensors", 0o644)
    assert run("card", "show", "bob.safetensors") == 0
    said = capsys.readouterr().out
    assert "thumbnail" not in said
    assert "chmod 600 bob.safetensors" in said


def test_show_as_json_and_the_thumbnail(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("card", "show", "ada.safetensors", "bob.safetensors", "--json") == 0
    ada, bob = json.loads(capsys.readouterr().out)
    assert (ada["name"], ada["expired"], ada["others_read"]) == ("Ada", False, False)
    assert ada["expires"] == (today() + timedelta(days=90)).isoformat()
    assert Image.open(io.BytesIO(base64.b64decode(ada["thumbnail"]))).size == (112, 112)
    assert bob["thumbnail"] is None
    assert run("card", "show", "ada.safetensors", "--thumbnail", "t.jpg") == 0
    assert Image.open("t.jpg").size == (112, 112)
    assert "bob.safetensors has no thumbnail" in error(
        capsys, "card", "show", "bob.safetensors", "--thumbnail", "t.jpg"
    )


def test_merge_and_mix(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("card", "merge", "ada.safetensors", "ada.safetensors", "-o", "two.safetensors") == 0
    assert len(load_card("two.safetensors").sources) == 2
    mix = ["card", "mix", "ada.safetensors", "bob.safetensors"]
    assert run(*mix, "--weight", ".3", "-o", "eve.safetensors", "--name", "Eve") == 0
    eve = load_card("eve.safetensors")
    assert (eve.name, eve.sources[0].kind, eve.consent) == ("Eve", "invented", "ada said yes; bob said yes")
    assert run("generate", "--face", "eve.safetensors", "--prompt", PROMPT, "--out", "eve", *QUICK) == 0
    assert "weight 2: from 0" in error(capsys, *mix, "--weight", 2, "-o", "x.safetensors")


def test_two_people_on_one_card_are_noticed(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the demo model's encoder, which knows avatars apart."""
    for name in ("ada", "bob"):
        assert run("card", "make", "--face", f"{name}.png", "-o", f"{name}-2.safetensors") == 0
    assert run("card", "merge", "ada-2.safetensors", "ada-2.safetensors", "-o", "right.safetensors") == 0
    assert not caplog.text
    assert run("card", "merge", "ada-2.safetensors", "bob-2.safetensors", "-o", "wrong.safetensors") == 0
    assert "ada-2.safetensors and bob-2.safetensors seem to show two different people" in caplog.text


def test_a_folder_of_people_calibrates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people(tmp_path / "photos", count=3, looks=2)
    (tmp_path / "photos/Person_0/broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "likeness.json"
    assert run("card", "calibrate", tmp_path / "photos", "--recogniser", AVATAR_ENCODER, "-o", out) == 0
    assert "3 people, 6 pictures: two of one person are 0." in capsys.readouterr().out
    (found,) = load_calibrations(out).values()
    assert found.recogniser == encoder_name(open_transface(AVATAR_ENCODER))


def test_mistakes_are_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make = ["card", "make", "--face", "ada.png", "-o"]
    assert "let its name end in .safetensors" in error(capsys, *make, "ada.card")
    assert "already there" in error(capsys, *make, "ada.safetensors")
    assert run(*make, "ada.safetensors", "--overwrite", "--model", "tiny") == 0
    assert "is a card already" in error(capsys, "card", "make", "--face", "bob.safetensors", "-o", "x.safetensors")
    assert "at least two cards" in error(capsys, "card", "merge", "ada.safetensors", "-o", "x.safetensors")
    (here / "half.safetensors").write_bytes((here / "ada.safetensors").read_bytes()[:999])
    for command in (["card", "show"], ["generate", "--prompt", PROMPT, "--face"]):
        assert "half.safetensors: not a whole safetensors file" in error(capsys, *command, "half.safetensors")
    assert "say whose pictures" in error(capsys, "card", "calibrate", "-o", "a.json")


def test_the_day_on_which_it_expires() -> None:
    assert expiry(None) is None
    assert expiry("0d") == today()
    assert expiry("90d") == today() + timedelta(days=90)
    assert expiry("2999-01-31").isoformat() == "2999-01-31"  # type: ignore[union-attr]
    for text, said in (("2001-01-01", "that day is over"), ("soon", "2027-01-31"), ("99999d", "90d"), ("-1d", "90d")):
        with pytest.raises(UserError, match=said):
            expiry(text)

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefact.apps import cli
from facefact.evaluate.inpaint_photos import neck_of
from facefact.faces import face_from_landmarks, get_detector
from facefact.types import UserError
from facefact.world import Person, look, person, render

SHARED = Path(os.environ.get("FACEFACT_SHARED", Path(__file__).parents[3] / "shared"))
PHOTOS = SHARED / "data" / "lfw_small"


def render_of(number: int, tone: float) -> Any:
    factors = person(number).factors.copy()
    factors[0] = tone
    shown = look(
        9, hair="short", glasses="none", hat="none", clothes="t-shirt", pose="front", scene="city", light="day"
    )
    return render(Person(number, factors), shown, size=256)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three people of different skins, one picture of each; and one without a face."""
    for number, tone in ((1, -0.7), (2, 0.0), (3, 0.7)):
        (tmp_path / "people" / str(number)).mkdir(parents=True)
        Image.fromarray(render_of(number, tone).image).save(tmp_path / "people" / str(number) / "a.png")
    (tmp_path / "people" / "4").mkdir()
    Image.new("RGB", (128, 128), "blue").save(tmp_path / "people" / "4" / "a.png")
    return tmp_path / "people"


def test_the_command_measures_without_a_model(folder: Path, tmp_path: Path) -> None:
    files = ["--json", str(tmp_path / "a.json"), "--sheet", str(tmp_path / "a.png")]
    assert cli.main(["eval", "inpaint", "--photos", str(folder), *files]) == 0
    figures = json.loads((tmp_path / "a.json").read_text())
    assert (figures["people"], figures["photos"], figures["usable"]) == (3, 4, 3)
    for way in ("template", "paste", "swap", "in_place"):
        assert figures[way]["outside_change"]["value"] == 0
        assert set(figures[way]["placed"]) == {"value", "low", "high", "n"}
    assert figures["template"]["placed"]["value"] == 1
    skin = {way: figures[way]["skin_difference"]["value"] for way in ("template", "swap", "in_place")}
    assert skin["swap"] > 2 * skin["template"], "another face on the old neck"
    assert skin["in_place"] < 0.6 * skin["swap"]
    assert 0 < figures["square"]["error"]["value"] < 3
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size == (192 * 5, 20 + 3 * 192)


def test_the_neck_lies_under_the_mouth_beside_the_face() -> None:
    made = render_of(3, 0.5)
    neck = neck_of(made.image, face_from_landmarks(made.landmarks))
    assert neck.sum() > 300
    assert not (neck & made.face).any()
    assert np.nonzero(neck)[0].min() > made.landmarks[3:, 1].mean()
    green = np.zeros_like(made.image)
    green[..., 1] = 200
    beside = np.where(made.face[..., None], made.image, green)
    assert not neck_of(beside, face_from_landmarks(made.landmarks)).any(), "no neck is to be seen"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--steps", "5"], "--steps is for a model"),
        (["--ways", "shape"], "--ways is for a model"),
        (["--people", "2", "--photos", "/no/such"], "there is no such folder"),
    ],
)
def test_what_means_nothing_for_photos_is_refused(
    given: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", "inpaint", "--photos", str(folder), *given]) == 2
    assert message in capsys.readouterr().err


def test_one_person_is_none_to_swap_with(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "inpaint", "--photos", str(folder / "1")]) == 2
    assert "two people" in capsys.readouterr().err


def test_on_photos(tmp_path: Path) -> None:
    if not PHOTOS.is_dir():
        pytest.skip("no photos of faces: name the folder above data/lfw_small in FACEFACT_SHARED")
    try:
        get_detector("mediapipe")
    except UserError:
        pytest.skip("no detector for photos")
    wanted = ["--people", "4", "--templates", "1", "--json", str(tmp_path / "a.json")]
    assert cli.main(["eval", "inpaint", "--photos", str(PHOTOS), *wanted]) == 0
    figures = json.loads((tmp_path / "a.json").read_text())
    assert figures["in_place"]["outside_change"]["value"] == 0
    assert figures["in_place"]["placed"]["value"] >= 0.5

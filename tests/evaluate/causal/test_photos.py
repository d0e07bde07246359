"""Pairs of photos instead of interventions: methods whose gains are known, and the command at tiny size."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from facefact.apps import cli
from facefact.evaluate.causal.generators import OneByOne
from facefact.evaluate.causal.photos import (
    FACTORS,
    Pair,
    gains,
    measure_photos,
    measured,
    most_apart,
    photo_pairs,
    share,
)
from facefact.evaluate.causal.photos import markdown as table
from facefact.faces import get_detector
from facefact.faces.crop import face_from_landmarks
from facefact.types import UserError
from facefact.world import look, person, render
from portraits import people
from tiny import save_tiny_model

SHARED = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[4] / "shared")
YUNET = Path(os.environ.get("FACEFACT_YUNET") or SHARED / "models" / "yunet_n_640_640.onnx")
LFW = SHARED / "data/lfw_small"


def test_yaw_mouth_and_light_are_seen() -> None:
    def seen(pose: str, expression: str = "neutral") -> np.ndarray:
        made = render(person(3), look(5, pose=pose, expression=expression, glasses="none", hat="none"), size=192)
        return measured(made.image, face_from_landmarks(made.landmarks))

    assert seen("right")[0] - seen("left")[0] > 0.8
    assert seen("front", "laughing")[1] > seen("front")[1]
    made = render(person(3), look(5, pose="front", glasses="none", hat="none"), size=192)
    face = face_from_landmarks(made.landmarks)
    lit = (made.image * np.linspace(0.4, 1, 192)[None, :, None]).astype(np.uint8)
    assert measured(lit, face)[2] > measured(made.image, face)[2] + 0.5, "the light comes from the right"
    below = (made.image * np.linspace(0.4, 1, 192)[:, None, None]).astype(np.uint8)
    assert measured(below, face)[3] < measured(made.image, face)[3] - 0.5
    assert abs(seen("front", "laughing")[3] - seen("front")[3]) < 0.5, "the mouth is not the light"
    assert share(0, 0) == 0


def test_pairs_are_those_that_differ_most_and_share_no_photo() -> None:
    shown = [(np.zeros((2, 2, 3), np.uint8), np.full(len(FACTORS), value)) for value in (0.0, 5.0, 1.0, 4.5)]
    found = most_apart(7, shown)
    assert [float(pair.apart[0]) for pair in found] == [5.0, 3.5]
    assert {pair.person for pair in found} == {7}


def test_gains_are_one_for_a_copy_and_none_without_enough_faces() -> None:
    rng, nothing = np.random.default_rng(0), np.zeros((2, 2, 3), np.uint8)
    pairs = [Pair(i // 2, nothing, nothing, rng.normal(size=len(FACTORS))) for i in range(20)]
    copied = gains(pairs, [pair.apart for pair in pairs])
    np.testing.assert_allclose(copied["matrix"], np.eye(len(FACTORS)), atol=1e-6)
    assert "matrix" not in gains(pairs, [None] * 19 + [pairs[0].apart])


def test_a_copier_and_an_indifferent_method_on_pictures(tmp_path: Path) -> None:
    detector = get_detector("avatar")
    pairs = photo_pairs(people(tmp_path, count=5, looks=4, size=128), detector, per_person=2)
    still = render(person(9), look(9, glasses="none", hat="none")).image
    methods = [
        OneByOne("copy", lambda references, prompt, seed: references[0]),
        OneByOne("still", lambda references, prompt, seed: still),
        OneByOne("nothing", lambda references, prompt, seed: np.zeros((64, 64, 3), np.uint8)),
    ]
    found = measure_photos(pairs, methods, detector, prompt="portrait")
    np.testing.assert_allclose(found["methods"]["copy"]["matrix"], np.eye(len(FACTORS)), atol=1e-3)
    np.testing.assert_allclose(found["methods"]["still"]["matrix"], 0, atol=1e-9)
    assert found["methods"]["nothing"]["faceless"] == 1
    assert "| copy | 1.00 [" in table(found)


@pytest.mark.skipif(not LFW.is_dir() or not YUNET.is_file(), reason="no photos of LFW, or no YuNet here")
def test_known_methods_on_photos(tmp_path: Path) -> None:
    """On photos of LFW a copy has all gains 1; one that paints one picture of each person, 0; a mirror turns what has a
    side, yaw and the light across, and keeps the light's height. Of a mouth's width it keeps as much as five landmarks
    see again: half."""
    for person_of in sorted(LFW.iterdir())[:10]:
        (tmp_path / person_of.name).symlink_to(person_of)
    detector = get_detector("yunet", model=YUNET)
    pairs = photo_pairs(tmp_path, detector, per_person=2)
    one = {pair.first.tobytes(): pair.first for pair in pairs} | {pair.second.tobytes(): pair.first for pair in pairs}
    methods = [
        OneByOne("copy", lambda references, prompt, seed: references[0]),
        OneByOne("one picture", lambda references, prompt, seed: one[references[0].tobytes()]),
        OneByOne("mirror", lambda references, prompt, seed: np.ascontiguousarray(references[0][:, ::-1])),
    ]
    found = measure_photos(pairs, methods, detector, prompt="portrait")["methods"]
    gain = {name: np.diag(made["matrix"]) for name, made in found.items()}
    np.testing.assert_allclose(gain["copy"], 1, atol=1e-6)
    np.testing.assert_allclose(gain["one picture"], 0, atol=1e-6)
    np.testing.assert_allclose(gain["mirror"][[0, 2, 3]], [-1, -1, 1], atol=0.15)
    assert 0.3 < gain["mirror"][1] < 1.1


def test_too_few_photos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        photo_pairs(tmp_path / "none", get_detector("avatar"))
    with pytest.raises(UserError, match="8 are needed"):
        photo_pairs(people(tmp_path / "few", count=2, looks=2, size=96), get_detector("avatar"))


def test_the_command_on_ones_own_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = get_detector("avatar")
    monkeypatch.setattr("facefact.faces.get_detector", lambda **options: detector)
    model, photos = save_tiny_model(tmp_path / "model"), people(tmp_path / "photos", count=4, looks=4, size=96)
    call = ["eval", "causal", "--photos", str(photos), "--model", str(model), "--adapter", str(model / "adapter")]
    call += ["--steps", "1", "--pairs", "2", "--device", "cpu", "--json", str(tmp_path / "gains.json")]
    assert cli.main(call) == 0
    found = json.loads((tmp_path / "gains.json").read_text())
    assert list(found["methods"]) == ["FACT", "base model", "image-to-image"]
    assert found["pairs"] == 8
    assert all(0 <= one["faceless"] <= 1 for one in found["methods"].values())
    assert "| method | yaw |" in capsys.readouterr().out

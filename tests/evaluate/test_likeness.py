"""Calibration on renders: by a recogniser that knows them, on the world and in folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact import UserError
from facefact.data.recognisers import TransFaceRecogniser
from facefact.demo import bundle_path, judges_path
from facefact.evaluate.likeness import calibrate_photos, calibrate_world, recogniser_called
from facefact.faces import get_detector
from facefact.metrics.likeness import AS_ONE, AS_STRANGERS, load_calibrations
from portraits import people

ENCODER = bundle_path() / "adapter"


def test_the_shipped_one_is_of_the_shipped_recognisers_and_what_the_world_gives() -> None:
    recognisers = [TransFaceRecogniser(path) for path in (ENCODER, judges_path() / "recogniser")]
    shipped = load_calibrations()
    assert shipped.keys() == {one.name for one in recognisers}, "facefact card calibrate --world makes it anew"
    found = calibrate_world(recognisers, detector=get_detector("avatar"), seed=1, people=12, per_person=3)
    for one in found:
        known = shipped[one.recogniser]
        assert one.people == 12
        assert known.in_words(one.same["75"]) == AS_ONE
        assert known.in_words(one.different["50"]) == AS_STRANGERS
        assert abs(known.likeness(one.same["50"]) - 1) < 0.1
        assert abs(known.likeness(one.different["50"])) < 0.15


def test_folders_of_people_are_measured(tmp_path: Path) -> None:
    people(tmp_path / "photos", count=3, looks=3)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(min((tmp_path / "photos").iterdir()) / "zz.png")
    recogniser, detector = recogniser_called(str(ENCODER)), get_detector("avatar")
    measured = calibrate_photos(tmp_path / "photos", recogniser, detector=detector)
    assert measured.calibration.recogniser == recogniser.name
    assert measured.calibration.people == 3
    assert measured.calibration.same["50"] > 0.7 > measured.calibration.different["75"]
    fewer = calibrate_photos(tmp_path / "photos", recogniser, detector=detector, most=2)
    assert fewer.calibration.pictures == 6
    assert not fewer.skipped
    (skipped,) = measured.skipped
    assert "zz.png: no face was found" in skipped


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    recogniser, detector = recogniser_called(str(ENCODER)), get_detector("avatar")
    for folder, said in ((tmp_path / "none", "is no folder"), (tmp_path, "holds no folders with photos")):
        with pytest.raises(UserError, match=said):
            calibrate_photos(folder, recogniser, detector=detector)
    (tmp_path / "ada").mkdir()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "ada" / "a.png")
    with pytest.raises(UserError, match=r"in none of 1 photos somebody was recognised: .*a\.png"):
        calibrate_photos(tmp_path, recogniser, detector=detector)
    with pytest.raises(UserError, match="no face recogniser is here"):
        recogniser_called("none")

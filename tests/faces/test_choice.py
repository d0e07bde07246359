"""Which face, which detector, and the line that says why not."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.faces import choice, choose_face, face_crop, find_faces, get_detector
from facefact.faces.align import TEMPLATE
from facefact.faces.choice import PhotoOrAvatar
from facefact.faces.crop import face_from_landmarks
from facefact.faces.detector import largest_first, overlapping_removed
from facefact.types import Face, Pose, UserError
from facefact.world import look, person, render


def face(size: float, *, at: float = 0.0, yaw: float = 0.0, pitch: float = 0.0, score: float = 0.9) -> Face:
    landmarks = TEMPLATE * size / 84 + at
    return Face(box=(at, at, at + size, at + size), landmarks=landmarks, score=score, pose=Pose(yaw, pitch, 0))


class Fake:
    """Finds what it was given."""

    name, licence = "fake", "none"

    def __init__(self, faces: list[Face]) -> None:
        self.faces = faces

    def detect(self, picture: np.ndarray) -> list[Face]:
        return self.faces

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        return np.ones(picture.shape[:2], bool)


def test_the_largest_is_taken_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    faces = largest_first([face(50), face(90), face(40)])
    with caplog.at_level(logging.WARNING):
        assert choose_face(faces).area == 90**2
    assert "3 faces" in caplog.text
    caplog.clear()
    assert choose_face(faces, 2).area == 40**2
    assert not caplog.text
    choose_face([face(50)])
    assert not caplog.text


@pytest.mark.parametrize(
    ("faces", "which", "words"),
    [
        ([], 0, "no face"),
        ([face(80)], 1, "there is no face 1: 1 found"),
        ([face(80)], -1, "there is no face -1"),
        ([face(20)], 0, "too small"),
        ([face(80, yaw=75)], 0, "turned away"),
        ([face(80, pitch=-60)], 0, "turned away"),
    ],
)
def test_one_line_says_why_not(faces: list[Face], which: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        choose_face(faces, which)


def test_of_overlapping_faces_the_surest_stays() -> None:
    sure, unsure, other = face(50, score=0.9), face(55, score=0.6), face(50, at=100, score=0.5)
    assert overlapping_removed([unsure, sure, other]) == [sure, other]


def test_face_crop_names_the_file(tmp_path: Path) -> None:
    Image.new("RGB", (90, 90)).save(tmp_path / "nobody.png")
    with pytest.raises(UserError, match=r"nobody\.png: no face"):
        face_crop(tmp_path / "nobody.png", detector=Fake([]))


def test_face_crop_of_the_chosen_face() -> None:
    picture = np.random.default_rng(0).integers(1, 255, (200, 200, 3), np.uint8)
    faces = [face_from_landmarks(TEMPLATE), face_from_landmarks(TEMPLATE + 60)]
    crop = face_crop(picture, detector=Fake(faces), which=1)
    assert crop.face is faces[1]
    np.testing.assert_array_equal(crop.pixels, picture[60:172, 60:172])
    assert find_faces(picture, detector=Fake(faces)) == faces


def test_avatars_first_then_photos() -> None:
    avatar, photo = Fake([face(50)]), Fake([face(70)])
    picture = np.zeros((9, 9, 3), np.uint8)
    assert PhotoOrAvatar(avatar, photo).detect(picture) == avatar.faces
    assert PhotoOrAvatar(Fake([]), photo).detect(picture) == photo.faces
    with pytest.raises(UserError, match=r"facefact\[faces\]"):
        PhotoOrAvatar(Fake([]), None).detect(picture)


def test_an_unknown_detector() -> None:
    with pytest.raises(UserError, match="choose from auto"):
        get_detector("haar")


def test_nothing_installed_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("facefact.faces.mediapipe.available", lambda: False)
    monkeypatch.setattr(choice, "AVATAR_WEIGHTS", tmp_path / "none")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("FACEFACT_YUNET", raising=False)
    for name in ("auto", "yunet"):
        with pytest.raises(UserError, match="--yunet FILE"):
            get_detector(name)
    with pytest.raises(UserError, match="no such YuNet file"):
        get_detector("yunet", model=tmp_path / "absent.onnx")
    (tmp_path / "wrong.onnx").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot read it"):
        get_detector("yunet", model=tmp_path / "wrong.onnx")
    with pytest.raises(UserError, match="no usable avatar detector"):
        get_detector("avatar", avatar=tmp_path)


def test_the_detector_for_photos_is_opened_for_photos_alone() -> None:
    """Its licence is said without it."""
    opened: list[str] = []

    class Photos:
        name, licence = "photos", "MIT"

        def __init__(self) -> None:
            opened.append(self.name)

        def detect(self, picture: np.ndarray) -> list[Face]:
            return []

        def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
            return np.zeros(picture.shape[:2], bool)

    both = PhotoOrAvatar(get_detector("avatar"), None, open_photo=Photos, licence="MIT")
    avatar = render(person(5), look(5, pose="front"), size=256).image
    assert both.detect(avatar)[0].backend == "avatar"
    assert both.licence.endswith("; MIT")
    assert opened == []
    both.detect(np.full((256, 256, 3), 127, np.uint8))
    assert both.photo is both.photo
    assert opened == ["photos"]

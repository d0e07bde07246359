"""Pictures that do not say which way up they are: faces are found in them, and the crop is upright."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from facefact.faces import face_crop, face_from_landmarks, get_detector, open_picture
from facefact.faces.align import TEMPLATE
from facefact.faces.choice import AVATAR_WEIGHTS
from facefact.faces.mediapipe import available
from facefact.faces.turned import any_way_up, face_turned, points_turned, turned, way_up
from facefact.types import Face
from facefact.world import look, person, render

SHARED = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[3] / "shared")
PHOTOS = SHARED / "data" / "lfw_small"


@pytest.mark.parametrize("turn", range(-3, 4))
def test_points_go_where_their_pixels_go(turn: int) -> None:
    picture = np.zeros((5, 9), int)
    picture[1, 6] = 1
    ((x, y),) = points_turned(np.array([[6, 1]]), picture.shape, turn)
    assert turned(picture, turn)[y, x] == 1


@pytest.mark.parametrize("turn", range(4))
def test_a_face_turned_and_back_is_the_same(turn: int) -> None:
    face = face_from_landmarks(TEMPLATE + 40)
    there = face_turned(face, (200, 300), turn)
    assert way_up(there) == -turn % 4
    back = face_turned(there, turned(np.zeros((200, 300)), turn).shape, -turn)
    np.testing.assert_allclose(back.landmarks, face.landmarks, atol=1e-4)
    np.testing.assert_allclose(back.box, face.box, atol=1e-4)


@pytest.mark.parametrize("turn", range(4))
def test_the_surest_way_up_is_right_and_a_sure_one_is_looked_at_once(turn: int) -> None:
    upright = np.zeros((200, 300, 3), np.uint8)
    upright[0, 0] = 255
    asked = 0

    def detect(picture: np.ndarray) -> list[Face]:
        nonlocal asked
        asked += 1
        score = 0.9 if picture[0, 0].any() else 0.7
        return [face_from_landmarks(TEMPLATE + 40)] if score > 0.8 else []

    (face,) = any_way_up(turned(upright, turn), detect, sure=0.86)
    expected = points_turned(TEMPLATE + 40, upright.shape, turn)
    np.testing.assert_allclose(face.landmarks, expected, atol=1e-4)
    assert asked == (1 if turn == 0 else 4)


@pytest.mark.parametrize("name", ["mediapipe", "yunet"])
@pytest.mark.parametrize("turn", [1, 2, 3])
def test_photos_lying_and_upside_down(name: str, turn: int) -> None:
    model = SHARED / "models" / "yunet_n_640_640.onnx"
    if not PHOTOS.is_dir() or (name == "mediapipe" and not available()) or (name == "yunet" and not model.is_file()):
        pytest.skip("no photos of faces (their folder's parent in FACEFACT_SHARED), or the detector is not installed")
    detector = get_detector(name, model=model if name == "yunet" else None)
    wrong = 0
    for folder in sorted(PHOTOS.iterdir())[:12]:
        picture = open_picture(min(folder.iterdir()))
        right, crop = (face_crop(one, detector=detector) for one in (picture, turned(picture, turn)))
        points = points_turned(right.face.landmarks, picture.shape, turn)
        eyes = np.linalg.norm(points[1] - points[0])
        near = np.linalg.norm(crop.face.landmarks - points, axis=1).mean() < 0.15 * eyes
        alike = np.abs(crop.pixels.astype(int) - right.pixels).mean() < 25
        wrong += not (near and alike)
    assert wrong == 0


@pytest.mark.parametrize("name", ["avatar", "auto"])
def test_avatars_lying_and_upside_down(name: str) -> None:
    """Found where they are, all of the head with them, and cut out upright."""
    if not AVATAR_WEIGHTS.is_dir():
        pytest.skip("the bundle has no avatar detector")
    detector = get_detector(name)
    for seed in range(2600, 2608):
        one = render(person(seed), look(seed), size=192)
        upright = face_crop(one.image, detector=detector)
        for turn in (1, 2, 3):
            picture = turned(one.image, turn)
            (face,) = detector.detect(picture)
            points = points_turned(one.landmarks, one.image.shape, turn)
            eyes = np.linalg.norm(points[1] - points[0])
            assert np.linalg.norm(face.landmarks - points, axis=1).mean() < 0.2 * eyes
            assert way_up(face) == -turn % 4
            crop = face_crop(picture, detector=detector)
            assert (crop.head != turned(upright.head, turn)).mean() < 0.02
            assert np.abs(crop.pixels.astype(int) - upright.pixels).mean() < 4, "but for the head's edge"


def test_a_group_of_avatars_upside_down() -> None:
    if not AVATAR_WEIGHTS.is_dir():
        pytest.skip("the bundle has no avatar detector")
    people = [render(person(seed), look(seed), size=192) for seed in (2620, 2621, 2622)]
    picture = np.concatenate([one.image for one in people], axis=1)
    faces = get_detector("avatar").detect(turned(picture, 2))
    right = [points_turned(one.landmarks + (192 * i, 0), picture.shape, 2) for i, one in enumerate(people)]
    apart = np.linalg.norm(np.stack([face.landmarks for face in faces])[:, None] - right, axis=-1).mean(-1)
    assert len(faces) == 3
    assert sorted(apart.argmin(1)) == [0, 1, 2]
    assert apart.min(1).max() < 10

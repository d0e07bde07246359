"""The detectors on real photos; each is skipped, with the reason, where its package, model or the photos lack."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from facefact.faces import Detector, face_crop, get_detector, open_picture
from facefact.faces.mediapipe import available

SHARED = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[3] / "shared")
YUNET = Path(os.environ.get("FACEFACT_YUNET") or SHARED / "models" / "yunet_n_640_640.onnx")
PHOTOS = SHARED / "data" / "lfw_small"


@cache
def detector(name: str) -> Detector:
    if name == "yunet" and not YUNET.is_file():
        pytest.skip("no YuNet model: name it in FACEFACT_YUNET, or its folder's parent in FACEFACT_SHARED")
    if name == "mediapipe" and not available():
        pytest.skip("MediaPipe is not installed (extra: faces)")
    return get_detector(name, model=YUNET if name == "yunet" else None)


@pytest.fixture(params=["yunet", "mediapipe"])
def finder(request: pytest.FixtureRequest) -> Detector:
    return detector(request.param)


@pytest.fixture
def photo() -> np.ndarray:
    """A press photo of one frontal face, 250 x 250."""
    path = PHOTOS / "Bill_Simon" / "Bill_Simon_0001.jpg"
    if not path.is_file():
        pytest.skip("no photos of faces: name the folder above data/lfw_small in FACEFACT_SHARED")
    return open_picture(path)


def test_one_face_with_its_points_in_order(finder: Detector, photo: np.ndarray) -> None:
    (face,) = finder.detect(photo)
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < nose[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    x0, y0, x1, y1 = face.box
    assert ((face.landmarks > (x0, y0)) & (face.landmarks < (x1, y1))).all()
    assert abs(face.pose.yaw) < 20
    assert abs(face.pose.roll) < 10
    assert 0.5 < face.score <= 1


def test_head_mask_holds_the_face_and_not_the_corners(finder: Detector, photo: np.ndarray) -> None:
    (face,) = finder.detect(photo)
    head = finder.head_mask(photo, face)
    assert head.dtype == bool
    assert head.shape == photo.shape[:2]
    assert all(head[int(y), int(x)] for x, y in face.landmarks)
    assert not head[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert 0.9 < head.sum() / face.area < 2.5


@pytest.mark.parametrize(
    "change",
    [
        lambda p: cv2.resize(p, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC),
        lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        lambda p: np.repeat(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)[..., None], 3, -1),
        lambda p: cv2.copyMakeBorder(p, 300, 0, 0, 700, cv2.BORDER_CONSTANT, value=(90, 120, 90)),
        lambda p: p[:, ::-1].copy(),
    ],
    ids=["five times larger", "half as large", "grey", "small in a large picture", "mirrored"],
)
def test_the_face_is_found_in_other_forms(
    finder: Detector, photo: np.ndarray, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    crop = face_crop(change(photo), detector=finder)
    same = face_crop(photo, detector=finder)
    assert crop.pixels.any()
    if change(photo).shape[0] != photo.shape[0]:  # the same head: the crops look alike
        assert np.abs(crop.pixels.astype(int) - same.pixels).mean() < 25


def test_two_faces_largest_first(finder: Detector, photo: np.ndarray) -> None:
    small = cv2.resize(photo, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    pair = np.full((250, 430, 3), 128, np.uint8)
    pair[:, :250], pair[:175, 250:425] = photo, small
    first, second = finder.detect(pair)
    assert first.area > second.area
    assert first.box[0] < second.box[0]


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (15, 15), (20, 300), (64, 64), (300, 17)])
def test_nothing_in_empty_and_odd_pictures(finder: Detector, shape: tuple[int, int]) -> None:
    assert finder.detect(np.zeros((*shape, 3), np.uint8)) == []
    assert finder.detect(np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)) == []


def test_asking_again_gives_the_same(finder: Detector, photo: np.ndarray) -> None:
    first, again = face_crop(photo, detector=finder), face_crop(photo, detector=finder)
    np.testing.assert_array_equal(first.pixels, again.pixels)


def test_detectors_agree_on_the_points(photo: np.ndarray) -> None:
    ours, theirs = (detector(name).detect(photo)[0].landmarks for name in ("yunet", "mediapipe"))
    eyes = np.linalg.norm(ours[0] - ours[1])
    assert np.linalg.norm(ours - theirs, axis=1).mean() < 0.15 * eyes


def test_detectors_say_nothing_unasked(capfd: pytest.CaptureFixture[str], photo: np.ndarray, finder: Detector) -> None:
    get_detector(finder.name, model=YUNET if finder.name == "yunet" else None).detect(photo)
    out, err = capfd.readouterr()
    assert not out
    assert not err

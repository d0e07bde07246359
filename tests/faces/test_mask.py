"""Masks: the published dilation, the largest region, the head's ellipse."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.faces.align import TEMPLATE
from facefact.faces.crop import face_crop_from, face_from_landmarks
from facefact.faces.mask import clean_head, dilation, face_area, face_mask, head_ellipse, largest_region
from facefact.types import Face, Pose


def block(shape: tuple[int, int], y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize(("area", "side"), [(0, 1), (399, 1), (1600, 2), (160_000, 20), (10_000, 5)])
def test_dilation_is_a_twentieth_of_the_face(area: float, side: int) -> None:
    assert dilation(area) == side


def test_dilated_by_a_square_of_that_side() -> None:
    grown = clean_head(block((100, 100), 40, 60, 30, 70), face_area=10_000)
    assert (grown.sum(0).max(), grown.sum(1).max()) == (24, 44)


def test_the_largest_region_without_holes() -> None:
    mask = block((50, 50), 5, 30, 5, 30) | block((50, 50), 40, 48, 40, 48)
    mask[10:12, 10:12] = False
    np.testing.assert_array_equal(largest_region(mask), block((50, 50), 5, 30, 5, 30))
    assert not largest_region(np.zeros((5, 5), bool)).any()


def test_face_area_is_the_outlines_or_the_boxs_ellipse() -> None:
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], np.float32)
    face = Face(box=(0, 0, 20, 20), landmarks=TEMPLATE, score=1, pose=Pose(0, 0, 0), oval=square)
    assert face_area(face) == 100
    assert face_area(face_from_landmarks(TEMPLATE)) == pytest.approx(np.pi / 4 * 76 * 92)


def test_without_an_outline_the_face_is_the_ellipse_in_its_box() -> None:
    mask = face_mask((100, 100, 3), Face((20, 10, 60, 90), np.zeros((5, 2)), 1.0, Pose(0, 0, 0)))
    assert mask.sum() == pytest.approx(np.pi / 4 * 40 * 80, rel=0.05)
    assert mask[50, 40]
    assert not mask[12, 22]


def test_the_ellipse_holds_the_landmarks_and_turns_with_them() -> None:
    landmarks = TEMPLATE + (100, 100)
    upright = head_ellipse((320, 320), landmarks)
    assert all(upright[int(y), int(x)] for x, y in landmarks)
    turned = head_ellipse((320, 320), np.column_stack([319 - landmarks[:, 1], landmarks[:, 0]]))
    assert (np.rot90(upright, -1) != turned).mean() < 0.01


def test_the_crop_is_black_outside_the_head_and_the_picture_inside() -> None:
    picture = np.random.default_rng(0).integers(1, 255, (112, 112, 3), np.uint8)
    head = block((112, 112), 20, 100, 30, 80)
    crop = face_crop_from(picture, landmarks=TEMPLATE, head=head)
    assert crop.head.sum() > head.sum()
    np.testing.assert_array_equal(crop.pixels, picture * crop.head[..., None])
    assert crop.pixels.shape == (112, 112, 3)
    assert crop.face.pose.roll == pytest.approx(0, abs=1)


def test_a_mask_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        face_crop_from(np.zeros((10, 10, 3), np.uint8), landmarks=TEMPLATE, head=np.zeros((9, 10), bool))

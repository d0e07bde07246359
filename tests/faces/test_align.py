"""Alignment is the least-squares similarity: it recovers known ones, and its crop is the picture seen through it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facefact.faces.align import TEMPLATE, align, alignment, inverse, similarity, transform
from facefact.types import UserError


def known(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


@pytest.mark.parametrize("angle", [0.0, 0.3, -2.0, np.pi])
@pytest.mark.parametrize("scale", [0.05, 1.0, 13.0])
def test_recovers_a_known_similarity(angle: float, scale: float) -> None:
    matrix = known(angle, scale, (-30.0, 700.0))
    np.testing.assert_allclose(similarity(TEMPLATE, transform(TEMPLATE, matrix)), matrix, atol=1e-9)


def test_landmarks_land_on_the_template() -> None:
    landmarks = transform(TEMPLATE, known(0.4, 2.5, (100, 60)))
    np.testing.assert_allclose(transform(landmarks, alignment(landmarks)), TEMPLATE, atol=1e-9)
    np.testing.assert_allclose(transform(landmarks, alignment(landmarks, 224)), 2 * TEMPLATE, atol=1e-9)


def test_never_a_reflection() -> None:
    """Mirrored landmarks are met by the best rotation, as badly as that is."""
    matrix = alignment(TEMPLATE * (-1, 1))
    assert np.linalg.det(matrix[:, :2]) > 0


def test_least_squares_among_all_similarities() -> None:
    """The normal equations of a, b, tx, ty (no reflection possible in this form) have the same solution."""
    points = TEMPLATE + np.random.default_rng(0).normal(0, 6, (5, 2))
    x, y, one, zero = points[:, 0], points[:, 1], np.ones(5), np.zeros(5)
    system = np.vstack([np.column_stack([x, -y, one, zero]), np.column_stack([y, x, zero, one])])
    a, b, tx, ty = np.linalg.lstsq(system, TEMPLATE.T.ravel(), rcond=None)[0]
    np.testing.assert_allclose(alignment(points), [[a, -b, tx], [b, a, ty]], atol=1e-9)


def test_inverse() -> None:
    matrix = known(1.0, 3.0, (5, -7))
    np.testing.assert_allclose(transform(transform(TEMPLATE, matrix), inverse(matrix)), TEMPLATE, atol=1e-9)


def test_points_in_one_place_are_refused() -> None:
    for landmarks in (np.zeros((5, 2)), np.full((5, 2), np.nan)):
        with pytest.raises(UserError, match="aligned"):
            alignment(landmarks)


def test_crop_of_the_template_is_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
    crop, matrix = align(picture, TEMPLATE)
    np.testing.assert_array_equal(crop, picture)
    np.testing.assert_allclose(matrix, [[1, 0, 0], [0, 1, 0]], atol=1e-9)


def test_crop_moves_whole_pixels_and_is_black_beyond_the_picture() -> None:
    picture = np.random.default_rng(0).integers(1, 255, (112, 112, 3), np.uint8)
    crop, _ = align(picture, TEMPLATE + (20, -10))
    np.testing.assert_array_equal(crop[10:, :-20], picture[:-10, 20:])
    assert not crop[:9].any()
    assert not crop[:, -19:].any()


def test_a_turned_and_enlarged_picture_gives_the_same_crop() -> None:
    smooth = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8), (0, 0), 5)
    landmarks = TEMPLATE * 1.5 + (110, 100)
    moved = known(0.5, 1.2, (120, -60))
    turned = cv2.warpAffine(smooth, moved, (600, 600), flags=cv2.INTER_CUBIC)
    straight, _ = align(smooth, landmarks)
    back, _ = align(turned, transform(landmarks, moved))
    assert np.abs(straight.astype(int) - back).mean() < 1.0

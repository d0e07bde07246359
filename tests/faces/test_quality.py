"""Quality falls with blur, darkness and size; drawings keep the picture's form."""

from __future__ import annotations

import cv2
import numpy as np

from facefact.faces import draw_faces, face_crop_from, face_from_landmarks, face_quality
from facefact.faces.align import TEMPLATE

PICTURE = np.random.default_rng(0).integers(60, 200, (112, 112, 3), np.uint8)
FACE = face_from_landmarks(TEMPLATE)


def test_blur_darkness_and_small_size_cost_quality() -> None:
    good = face_quality(PICTURE, FACE)
    blurred = face_quality(cv2.GaussianBlur(PICTURE, (0, 0), 4), FACE)
    dark = face_quality(PICTURE // 8, FACE)
    burnt = face_quality(np.full_like(PICTURE, 255), FACE)
    small = face_quality(cv2.resize(PICTURE, (40, 40)), face_from_landmarks(TEMPLATE * 40 / 112))
    assert blurred.sharpness < 0.2 * good.sharpness
    assert dark.brightness < 30
    assert burnt.clipped == 1
    assert burnt.score == 0
    assert small.size < 0.5 * good.size
    assert all(0 <= worse.score < good.score <= 1 for worse in (blurred, dark, burnt, small))


def test_drawing_leaves_the_picture_alone_and_darkens_around_the_head() -> None:
    before = PICTURE.copy()
    head = np.zeros((112, 112), bool)
    head[20:100, 20:90] = True
    crop = face_crop_from(PICTURE, landmarks=TEMPLATE, head=head)
    drawn = draw_faces(PICTURE, [FACE, FACE], head=crop.head, crop=crop.pixels)
    np.testing.assert_array_equal(PICTURE, before)
    assert drawn.shape == (480, 480, 3)
    assert drawn[:60, :60].mean() < 0.6 * PICTURE.mean()


def test_drawing_on_tiny_and_empty() -> None:
    assert draw_faces(PICTURE[:1, :1], []).shape == (480, 480, 3)
    assert draw_faces(np.zeros((900, 20, 3), np.uint8), [FACE], crop=PICTURE).shape == (900, 20, 3)

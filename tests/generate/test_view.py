from __future__ import annotations

import numpy as np
import pytest

from facefact.generate.view import view_about
from inpainting import face_at, picture


def test_the_box_lies_in_the_square_where_it_is_wanted() -> None:
    face = face_at(150, 100)
    view = view_about(face, (400, 500, 3), 64, context=2.0, centre=(0.4, 0.6))
    x0, y0, x1, y1 = face.box
    corners = view.points(np.array([[x0, y0], [x1, y1]]))
    np.testing.assert_allclose(corners.mean(0), np.array([0.4, 0.6]) * 64 - 0.5, atol=1e-6)
    assert np.ptp(corners, axis=0).max() == pytest.approx(32)


@pytest.mark.parametrize("corner", [(0, 0), (140, 60), (-30, -30), (330, 250)])
def test_beyond_the_edge_the_picture_is_mirrored_and_the_face_stays_in_its_place(corner: tuple[int, int]) -> None:
    pixels, face = picture(300, 400), face_at(*corner)
    view = view_about(face, pixels.shape, 128, context=2.4)
    x0, y0, x1, y1 = view.window
    assert 0 <= x0 < x1 <= 400
    assert 0 <= y0 < y1 <= 300
    assert view.look(pixels).shape == (128, 128, 3)
    away = view.points(face.landmarks) - view_about(face_at(0, 0), (112, 112), 128, context=2.4).points(
        face_at(0, 0).landmarks
    )
    np.testing.assert_allclose(away, 0, atol=1e-3)
    mask = view.look_at_mask(np.ones((300, 400)))
    assert (mask.min() < 0.5) == (corner in ((0, 0), (-30, -30), (330, 250))), "beyond the edge nothing is meant"


def test_there_and_back_is_the_picture() -> None:
    smooth = np.add.outer(np.linspace(0, 120, 300), np.linspace(0, 120, 400)).astype(np.uint8)
    pixels = np.repeat(smooth[..., None], 3, axis=2)
    for turn in (0.0, 30.0):
        view = view_about(face_at(140, 80, turn=turn), pixels.shape, 256, context=1.6)
        back = view.back(view.look(pixels)).astype(int)
        middle = np.s_[back.shape[0] // 3 : -back.shape[0] // 3, back.shape[1] // 3 : -back.shape[1] // 3]
        assert np.abs(back - pixels[view.part])[middle].max() <= 2


def test_a_tilted_head_is_upright_in_the_view() -> None:
    face = face_at(140, 80, turn=35.0)
    left, right = view_about(face, (300, 400, 3), 64, context=2.0).points(face.landmarks)[:2]
    assert abs(np.degrees(np.arctan2(*(right - left)[::-1]))) < 4
    slightly = face_at(140, 80, turn=4.0)
    matrix = view_about(slightly, (300, 400, 3), 64, context=2.0).matrix
    assert matrix[0, 1] == matrix[1, 0] == 0, "a small tilt is the picture's own"

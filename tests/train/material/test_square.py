"""What is cut from a photo."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.train.material.square import Photo, cut_around, moved, sample_of, scale_of


def box(x: float, y: float) -> tuple[float, float, float, float]:
    return (x - 5, y - 5, x + 5, y + 5)


def test_the_square_keeps_as_much_as_it_can() -> None:
    assert cut_around(box(10, 20), (100, 100)) == (slice(0, 100), slice(0, 100))
    assert cut_around(box(150, 50), (100, 300))[1] == slice(100, 200)
    assert cut_around(box(280, 50), (100, 300))[1] == slice(200, 300)
    assert cut_around(box(50, 20), (300, 100))[0] == slice(0, 100)


@pytest.mark.parametrize("shape", [(64, 64), (96, 64), (48, 80)])
def test_another_shape_is_as_large_as_the_picture_allows(shape) -> None:
    rows, columns = cut_around(box(200, 60), (120, 300), shape)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.01)
    assert height == 120 or width == 300
    assert (columns.start + columns.stop) / 2 == pytest.approx(200, abs=1)


def test_a_point_of_the_picture_stays_on_what_it_is_on() -> None:
    """A bright square in a dark picture: its middle is where the point is moved to, and what SDXL reads says the same:
    the point in the scaled picture, less what was cut off."""
    pixels = np.zeros((200, 320, 3), np.uint8)
    pixels[90:111, 210:231] = 255  # its middle: (220, 100)
    point = np.array([[220.0, 100.0]], np.float32)
    mask = pixels[..., 0] > 0
    photo = Photo(pixels, mask, mask, box(220, 100), point, np.zeros((112, 112, 3), np.uint8), None, "p", 0.0)
    for shape in ((64, 64), (80, 48)):
        cut = cut_around(photo.box, photo.shape, shape)
        made = sample_of(photo, cut, shape)
        ys, xs = np.indices(shape)
        weights = made.image[..., 0].astype(float)
        middle = [float((xs * weights).sum() / weights.sum()), float((ys * weights).sum() / weights.sum())]
        np.testing.assert_allclose(made.landmarks[0], middle, atol=0.2)
        np.testing.assert_allclose((made.face > 0.5).mean(), made.face_size, atol=0.03)
        scale = scale_of(cut, shape)
        told = (point[0] + 0.5) * scale[::-1] - 0.5 - np.array(made.crop[::-1])
        np.testing.assert_allclose(told, made.landmarks[0], atol=0.5)
        assert made.original == (200, 320)
    np.testing.assert_allclose(moved(point, (slice(0, 200), slice(0, 320)), (1.0, 1.0)), point)

from __future__ import annotations

import numpy as np
import pytest

from facefact.faces import face_from_landmarks
from facefact.faces.align import transform
from facefact.generate.settling import middles, settled
from facefact.types import Face
from facefact.world import look, person, render
from inpainting import FixedDetector


@pytest.mark.parametrize("moved", [(6.0, -4.0, 1.1, 5.0), (-9.0, 3.0, 0.9, -8.0)])
def test_a_face_that_was_drawn_beside_its_place_is_moved_there(moved: tuple[float, float, float, float]) -> None:
    """With a detector that sees the truth: the render's own landmarks, wherever the render was put."""
    dx, dy, scale, turn = moved
    made = render(person(4), look(8, glasses="none", pose="front"), size=128)
    angle = np.radians(turn)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = made.landmarks.mean(0)
    wanted = transform(made.landmarks, np.column_stack([linear, middle + (dx, dy) - linear @ middle]))

    class Truth:
        name = licence = "truth"
        looked = 0

        def detect(self, pixels: np.ndarray) -> list[Face]:
            self.looked += 1
            return [face_from_landmarks(made.landmarks if self.looked == 1 else wanted)]

    whole = np.ones((128, 128, 1), np.float32)
    out, points = settled(made.image, wanted, Truth(), behind=made.image, mask=whole)  # type: ignore[arg-type]
    np.testing.assert_allclose(middles(points), middles(wanted), atol=0.05)
    eye, there = made.landmarks[0].round().astype(int), wanted[0].round().astype(int)
    before, after = made.image[eye[1], eye[0]].astype(int), out[there[1], there[0]].astype(int)
    assert np.abs(before - after).max() < 60
    same, points = settled(made.image, wanted, FixedDetector(), behind=made.image, mask=whole)
    assert same is made.image
    np.testing.assert_array_equal(points, wanted)

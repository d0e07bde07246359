"""The landmarks of two detectors are compared in the face's own frame, on the faces that both take."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.bench.alignment import compared
from facefact.faces import TEMPLATE
from facefact.faces.align import transform
from facefact.types import Face, Pose

EYES = TEMPLATE[1, 0] - TEMPLATE[0, 0]  # distance of the eyes in the template, but for half a pixel of height


def face(landmarks: np.ndarray) -> Face:
    (x0, y0), (x1, y1) = landmarks.min(0) - 20, landmarks.max(0) + 20
    return Face((x0, y0, x1, y1), landmarks.astype(np.float32), 0.9, Pose(0, 0, 0))


def turned(degrees: float, scale: float) -> np.ndarray:
    """A (2, 3) similarity."""
    angle = np.radians(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([linear, [300.0, 200.0]])


def test_a_constant_difference_is_distance_but_no_scatter() -> None:
    moved = TEMPLATE + [0.1 * EYES, 0]
    pairs = [
        (transform(TEMPLATE, how), transform(moved, how)) for how in (turned(0, 1), turned(50, 3), turned(-8, 0.7))
    ]
    found = compared([face(a) for a, _ in pairs], [face(b) for _, b in pairs], np.array([0, 0, 1]))
    assert found["n"] == 3
    assert found["distance"]["value"] == pytest.approx(0.1, abs=1e-3)
    assert found["distance"]["percentiles"]["95"] == pytest.approx(0.1, abs=1e-3)
    assert found["by_point"]["nose tip"] == pytest.approx(0.1, abs=1e-3)
    assert found["scatter"]["value"] == pytest.approx(0, abs=1e-3)
    assert found["crop"]["value"] == pytest.approx(0.1 * EYES, abs=0.02), "the crop moves with all landmarks"


def test_what_differs_from_face_to_face_is_scatter() -> None:
    steps = [np.array([0.1 * EYES, 0]), np.array([-0.1 * EYES, 0])]
    found = compared([face(TEMPLATE)] * 2, [face(TEMPLATE + step) for step in steps], np.array([0, 1]))
    assert found["scatter"]["value"] == found["distance"]["value"] == pytest.approx(0.1, abs=1e-3)


def test_only_faces_that_both_take_are_compared() -> None:
    here, elsewhere = face(TEMPLATE), face(TEMPLATE + 500)
    found = compared([here, here, None, None, here], [here, None, here, None, elsewhere], np.arange(5))
    counts = {name: found[name] for name in ("n", "only the first", "only the second", "neither", "different faces")}
    assert set(counts.values()) == {1}
    assert compared([None], [None], np.array([0])) == {
        "n": 0,
        "only the first": 0,
        "only the second": 0,
        "neither": 1,
        "different faces": 0,
    }

"""A photo that can be used, and will cost something, says what: once for each thing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facefact.faces import face_from_landmarks
from facefact.faces.align import TEMPLATE
from facefact.faces.reference import LOW_LIGHT, brightest, costs
from facefact.types import Pose
from facefact.world import IDENTITY, Person, look, render

FACE = replace(face_from_landmarks(TEMPLATE + 20), pose=Pose(0, 0, 0))


@pytest.mark.parametrize(
    ("light", "yaw", "words"),
    [
        (120, 20, []),
        (30, 0, ["dark (nothing about the face is brighter than 30"]),
        (120, -50, ["from the side (yaw -50"]),
        (30, 50, ["from the side", "dark"]),
    ],
)
def test_what_is_said_of_light_and_pose(light: int, yaw: float, words: list[str]) -> None:
    said = costs(np.full((160, 160, 3), light, np.uint8), replace(FACE, pose=Pose(yaw, 0, 0)))
    assert len(said) == len(words)
    assert all(word in line for word, line in zip(words, said, strict=True))


def test_dark_skin_is_no_dark_photo() -> None:
    factors = np.zeros(len(IDENTITY))
    factors[IDENTITY.index("skin_tone")] = 1.0  # the darkest
    for seed in range(12):
        shown = render(Person(seed, factors), look(seed, glasses="none"))
        face = replace(face_from_landmarks(shown.landmarks), pose=Pose(0, 0, 0))
        assert brightest(shown.image, face) > LOW_LIGHT, seed
        assert not costs(shown.image, face)
        assert costs((shown.image * 0.25).astype(np.uint8), face), "the same in the dark"

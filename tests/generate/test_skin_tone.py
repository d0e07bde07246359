from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from facefact.faces import face_from_landmarks
from facefact.generate.skin_tone import cheek_colour, from_lab, reach, skin_follows, skin_mask, to_lab
from facefact.world import Person, look, person, render

LOOK: dict[str, Any] = {"glasses": "none", "hat": "none", "clothes": "t-shirt", "light": "day", "pose": "front"}


def of_tone(tone: float, *, hair: str = "short") -> Any:
    factors = person(3).factors.copy()
    factors[0], factors[20] = tone, -1.0  # no freckles
    return render(Person(3, factors), look(9, hair=hair, clothes_colour="green", scene="city", **LOOK), size=256)


@pytest.mark.parametrize(("old", "new"), [(-0.8, 0.8), (0.8, -0.8), (-0.2, 0.3)])
def test_the_neck_takes_the_new_faces_colour(old: float, new: float) -> None:
    was, wanted = of_tone(old), of_tone(new)
    face = face_from_landmarks(was.landmarks)
    replaced = np.where(was.face[..., None], wanted.image, was.image)
    piece = skin_follows(was.image, replaced, face, wanted.landmarks)
    assert piece is not None
    neck = (np.abs(was.image.astype(int) - wanted.image).max(2) > 20) & ~was.face
    neck = neck[piece.part]
    assert piece.weight[neck].mean() > 0.6
    before = np.abs(was.image[piece.part].astype(int) - wanted.image[piece.part])[neck].mean()
    after = np.abs(piece.patch.astype(int) - wanted.image[piece.part])[neck].mean()
    assert after < 0.35 * before
    assert piece.weight[~neck & ~was.face[piece.part]].mean() < 0.05, "clothes, hair and background stay"


def test_other_peoples_faces_stay() -> None:
    made = of_tone(0.1, hair="bald")
    face = face_from_landmarks(made.landmarks)
    window = reach(face, made.image.shape)
    neighbour = face_from_landmarks(made.landmarks + (40, 60))
    alone, beside = (skin_mask(made.image, face, window, others=others) for others in ([], [neighbour]))
    assert beside.sum() < alone.sum()
    beyond = made.landmarks + 1000
    assert skin_follows(made.image, made.image, face, beyond) is None, "no cheeks, no colour"


def test_cheeks_beyond_the_picture_have_no_colour() -> None:
    made = of_tone(0.0)
    assert cheek_colour(made.image, made.landmarks + 1000) is None
    assert cheek_colour(made.image, made.landmarks) is not None


def test_lab_is_undone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(from_lab(to_lab(pixels)).astype(int), pixels, atol=1)

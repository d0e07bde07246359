from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from facefact.faces import face_from_landmarks
from facefact.generate.neck import Change, above, beside_skin, skin_under
from facefact.generate.pieces import Piece, laid_in
from facefact.generate.regions import region_mask, softened
from facefact.world import Person, look, person, render
from inpainting import FixedDetector, face_at

LOOK: dict[str, Any] = {"glasses": "none", "hat": "none", "clothes": "t-shirt", "light": "day", "pose": "front"}


def of_tone(tone: float) -> Any:
    factors = person(3).factors.copy()
    factors[0], factors[20] = tone, -1.0  # no freckles
    return render(Person(3, factors), look(9, hair="short", clothes_colour="green", scene="city", **LOOK), size=256)


@pytest.mark.parametrize("new_heads", [False, True])
def test_neck_and_ears_become_those_of_the_new_face(new_heads: bool) -> None:
    """The same person in another skin is put in through a soft mask: the whole is to be the other render, nearly."""
    was, wanted = of_tone(-0.8), of_tone(0.8)
    face = face_from_landmarks(was.landmarks)
    weight = softened(region_mask(face, was.image), face.longer_side)
    whole = (0, 0, 256, 256)
    piece = Piece(whole, np.where(was.face[..., None], wanted.image, was.image), weight)  # it never saw another neck
    new = laid_in(was.image, [piece])
    change = Change(was.image, new, [face], [wanted.landmarks])
    skin = skin_under(change)
    (trimmed,) = beside_skin(change, [piece], skin, new_heads=new_heads, detector=FixedDetector(face))
    out = laid_in(laid_in(was.image, skin), [trimmed])
    differs = (np.abs(was.image.astype(int) - wanted.image).max(2) > 20) & ~was.face
    below = differs & ~above(was.image.shape, was.landmarks, 105.0)
    assert below.sum() > 100
    error = lambda picture: np.abs(picture.astype(int) - wanted.image)[below].mean()  # noqa: E731
    over = laid_in(laid_in(was.image, skin), [piece])
    assert error(over) < 0.8 * error(new), "the old neck shines through the soft edge in the new skin"
    assert error(out) < 0.8 * error(over), "the template's drawing, not the model's, where there is skin"
    untouched = (trimmed.weight == 0) & np.all([_outside(one, weight.shape) for one in skin], axis=0)
    np.testing.assert_array_equal(out[untouched], was.image[untouched])
    assert (trimmed.weight <= piece.weight).all()
    line = 92.0 if new_heads else 52.0
    inside = above(was.image.shape, was.landmarks, line) & was.face
    assert trimmed.weight[inside].mean() > 0.9 * piece.weight[inside].mean()


def _outside(piece: Piece, shape: tuple[int, ...]) -> np.ndarray:
    weight = np.zeros(shape, np.float32)
    weight[piece.part] = piece.weight
    return weight == 0


def test_above_is_turned_with_the_head() -> None:
    upright, lying = (face_at(100, 100, turn=turn).landmarks for turn in (0, 90))
    half = above((400, 400), upright, 92.0)
    line = int(upright[3:, 1].mean())
    assert half[: line - 1].all()
    assert not half[line + 2 :].any()
    side = above((400, 400), lying, 92.0)
    column = int(lying[3:, 0].mean())
    assert side[:, column + 3 :].all(), "clockwise by a quarter, the forehead is at the right"
    assert not side[:, : column - 2].any()

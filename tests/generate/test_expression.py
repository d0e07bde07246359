from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facefact.faces import face_from_landmarks
from facefact.generate.expression import NAMED, DrawnMouth, drawn_mouth, expression_of
from facefact.types import Face
from facefact.world import CHOICES, look, person, render
from facefact.world.caption import EXPRESSION
from inpainting import face_at, picture


def avatar(points: np.ndarray) -> Face:
    return replace(face_from_landmarks(points), backend="avatar")


def test_the_expression_of_avatars_is_read_off_their_mouths() -> None:
    """30 of each kind, of people and looks that no threshold was read off; true landmarks."""
    right = []
    for kind, number in [(kind, number) for kind in CHOICES["expression"] for number in range(30)]:
        shown = look(7_000_000 + number, expression=kind, glasses="none")
        made = render(person(60_000 + number), shown, size=160)
        right.append(expression_of(made.image, avatar(made.landmarks)) == EXPRESSION[kind])
    by_kind = np.reshape(right, (-1, 30)).mean(1)
    assert by_kind.min() >= 0.8
    assert by_kind.mean() >= 0.9


def test_a_tilted_or_small_avatar_has_the_same_mouth() -> None:
    made = render(person(3), look(4, expression="smiling", pose="front"), size=256)
    whole = drawn_mouth(made.image, avatar(made.landmarks))
    turned = drawn_mouth(np.rot90(made.image).copy(), avatar(made.landmarks[:, ::-1] * (1, -1) + (0, 255)))
    assert whole is not None
    assert turned is not None
    np.testing.assert_allclose(
        (whole.top, whole.bottom, whole.width), (turned.top, turned.bottom, turned.width), atol=0.04
    )


def test_words_by_height_and_bend() -> None:
    assert DrawnMouth(0.02, 0.3, 0.9).word == "smiling"
    assert DrawnMouth(-0.05, 0.55, 0.9).word == "laughing"
    assert DrawnMouth(-0.1, 0.5, 0.4).word == "surprised"
    assert DrawnMouth(-0.2, -0.05, 0.7).word == "sad"
    assert DrawnMouth(-0.05, 0.1, 0.7).word == "calm"


def test_nothing_is_said_without_a_mouth_or_a_mesh() -> None:
    grey = np.full((300, 300, 3), 128, np.uint8)
    assert drawn_mouth(grey, avatar(face_at(100, 100).landmarks)) is None
    assert drawn_mouth(grey, avatar(face_at(1000, 1000).landmarks)) is None, "outside of the picture"
    assert expression_of(picture(300, 300), face_at(100, 100)) == "", "a photo's face without a mesh"


@pytest.mark.parametrize("prompt", ["a smiling person", "portrait, SAD", "mouth open", "he laughs", "calm"])
def test_prompts_that_name_an_expression(prompt: str) -> None:
    assert NAMED.search(prompt)


@pytest.mark.parametrize("prompt", ["portrait of a person", "a saddle", "in a smock at the beach"])
def test_prompts_that_do_not(prompt: str) -> None:
    assert not NAMED.search(prompt)

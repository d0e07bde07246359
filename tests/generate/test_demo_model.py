from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from facefact.demo import DEMO
from facefact.faces import face_from_landmarks
from facefact.generate import InpaintSettings
from facefact.generate.demo_model import words_for_template
from facefact.types import Face
from facefact.world import look, person, render


def template(expression: str) -> tuple[np.ndarray, Face]:
    made = render(person(3), look(4, expression=expression, pose="front", glasses="none"), size=192)
    return made.image, replace(face_from_landmarks(made.landmarks), backend="avatar")


def words(expression: str, *, model: str = DEMO, **given: Any) -> tuple[str, str]:
    picture, face = template(expression)
    settings = InpaintSettings(**{"prompt": "portrait of a person", **given})
    return words_for_template(face, settings, model=model, picture=picture)


@pytest.mark.parametrize(("kind", "word"), [("smiling", "smiling"), ("sad", "sad"), ("surprised", "surprised")])
def test_the_templates_expression_is_said_where_nothing_is_asked(kind: str, word: str) -> None:
    assert words(kind) == (f"{word}, facing forward", word)
    assert words(kind, model="path/to/sd15") == (word, word), "the pose is for control images there"


def test_what_is_asked_for_or_switched_off_stays_as_it_is() -> None:
    assert words("sad", prompt="portrait of a person, smiling") == ("facing forward", "")
    assert words("sad", prompt="portrait of a person, turned left") == ("sad", "sad")
    assert words("sad", keep_expression=False) == ("facing forward", "")
    assert words("sad", keep_expression=False, model="path/to/sd15") == ("", "")


def test_a_head_of_its_own_has_some_hair() -> None:
    said, _ = words("sad", shape="person")
    assert said.startswith("sad, facing forward, with ")
    assert "hair" not in words("sad", shape="person", prompt="a person with long red hair")[0]

"""Samples of the world: functions of their key alone."""

from __future__ import annotations

import numpy as np
import pytest
from same_sample import same_sample

from facefact.train.material.samples import brightness
from facefact.train.material.world import WorldSource
from facefact.world import HELD_OUT, caption, look, person, render


def test_a_sample_is_a_function_of_its_key() -> None:
    small, large = WorldSource(3, 2, 5), WorldSource(40, 2, 5)
    assert list(large.keys())[:6] == list(small.keys())
    large.sample(70, 64)  # whatever was drawn before
    assert same_sample(small.sample(3, 64), large.sample(3, 64))
    assert len(set(large.keys())) == 80
    assert not set(large.keys()) & set(WorldSource(40, 2, 6).keys())


def test_pictures_of_a_person_lie_in_a_row_and_are_no_one_of_the_evaluation() -> None:
    source = WorldSource(34, 3, 0)
    people = [who for who, _ in source.seeds]
    assert all(len(set(people[i : i + 3])) == 1 for i in range(0, 102, 3))
    assert len(set(people)) == 34
    assert max(map(max, source.seeds)) < HELD_OUT


def test_a_world_sample_is_the_render_with_its_caption() -> None:
    source = WorldSource(2, 2, 0)
    who, shown = source.seeds[2]
    made, drawn = source.sample(2, 64), render(person(who), look(shown), size=64)
    assert np.array_equal(made.image, drawn.image)
    assert np.array_equal(made.face, drawn.face)
    assert made.caption == caption(look(shown))
    assert made.face_size == pytest.approx(drawn.face.mean())
    assert made.light == pytest.approx(brightness(drawn.image, drawn.face))
    assert made.head.shape == (112, 112, 3)
    assert np.array_equal(made.head, source.sample(2, 128).head)  # the condition does not depend on the size


def test_what_is_worn_is_always_said() -> None:
    texts = {p.text: p.optional for i in range(60) for p in WorldSource(60, 1, 0).sample(i, 16).phrases}
    kept = {text for text, optional in texts.items() if not optional}
    assert "portrait of a person" in kept
    assert any("glasses" in text for text in kept)
    assert all(any(w in t for w in ("portrait", "glasses", "cap", "beanie", "straw")) for t in kept)
    assert len(kept) == 1 + 3 + 3

"""Captions: every choice in words, each in its own."""

from __future__ import annotations

from itertools import combinations

import pytest

from facefact.world import CHOICES, Look, caption, corpus, look


def said(**choices: str) -> str:
    base = {"hair": "long", "hat": "cap", "glasses": "round"} | choices
    return caption(look(5, **base))


def test_a_whole_caption() -> None:
    choices = {
        "hair": "long",
        "hair_colour": "red",
        "expression": "smiling",
        "pose": "left",
        "glasses": "round",
        "hat": "cap",
        "clothes": "hoodie",
        "clothes_colour": "blue",
        "scene": "beach",
        "light": "warm",
    }
    assert caption(Look(choices, 0, 0, (0, 0), 1, 0)) == (
        "portrait of a person, with long red hair, smiling, turned left, wearing round glasses, with a cap, "
        "in a blue hoodie, at the beach, warm light"
    )


@pytest.mark.parametrize("name", CHOICES)
def test_every_value_has_its_own_words(name) -> None:
    captions = [said(**{name: value}) for value in CHOICES[name]]
    assert len(set(captions)) == len(captions)


def test_different_looks_have_different_captions() -> None:
    """Over all factors at once; but for the colour of no hair, which no caption says."""
    looks = [look(seed) for seed in range(300)]
    for a, b in combinations(looks, 2):
        same = {k: v for k, v in a.choices.items() if k != "hair_colour" or a["hair"] != "bald"} == {
            k: v for k, v in b.choices.items() if k != "hair_colour" or b["hair"] != "bald"
        }
        assert (caption(a) == caption(b)) == same


def test_what_is_not_worn_is_not_said() -> None:
    assert said(glasses="none").count("glasses") == 0
    assert "hat" not in said(hat="none")
    assert "cap" not in said(hat="none")


def test_phrases_can_be_left_out() -> None:
    words = caption(look(3, glasses="sun", hat="cap"), without=["hair", "scene"])
    assert "hair" not in words
    assert "sunglasses" in words
    assert caption(look(3), without=["hair", "expression", "pose", "glasses", "hat", "clothes", "scene", "light"]) == (
        "portrait of a person"
    )


def test_the_corpus_holds_every_word_of_every_caption() -> None:
    known = {word for line in corpus() for word in line.replace(",", " ").split()}
    for seed in range(300):
        assert set(caption(look(seed)).replace(",", " ").split()) <= known

from __future__ import annotations

import re

import pytest

from facefact.generate.wording import MARKS, completed
from facefact.world import caption, look
from facefact.world.caption import phrases


@pytest.mark.parametrize("seed", range(20))
def test_a_whole_caption_stays_as_it_is(seed: int) -> None:
    prompt = caption(look(seed))
    assert completed(prompt, 3) == (prompt, ())


@pytest.mark.parametrize("seed", range(20))
def test_a_shortened_caption_becomes_whole_again_with_what_it_said(seed: int) -> None:
    shown = look(seed)
    for left_out in (("hair",), ("pose", "light"), ("hair", "expression", "pose", "clothes", "scene", "light")):
        made, added = completed(caption(shown, without=left_out), seed)
        parts = made.split(", ")
        assert len(added) == len(left_out)
        assert [part for part in parts if part not in added] == caption(shown, without=left_out).split(", ")
        order = [
            next(name for name, text in phrases(shown).items() if text == part) for part in parts if part not in added
        ]
        assert order == [name for name in MARKS if name in order]


def test_the_seed_chooses_and_other_seeds_choose_otherwise() -> None:
    prompt = "portrait of a person, smiling"
    assert completed(prompt, 7) == completed(prompt, 7)
    assert len({completed(prompt, seed) for seed in range(8)}) > 6
    for seed in range(40):
        made, _ = completed(prompt, seed)
        assert made.startswith("portrait of a person, with ")
        assert ", smiling, " in made
        assert "glasses" not in made
        assert "bald" not in made


def test_words_of_ones_own_are_kept() -> None:
    made, added = completed("a smiling person in a red hoodie, with a dragon", 0)
    assert made.startswith("a smiling person in a red hoodie, with ")
    assert made.endswith("with a dragon")
    assert not any("hoodie" in words or "smiling" in words for words in added)
    assert completed("with a cap", 0)[0].startswith("portrait of a person, with ")


@pytest.mark.parametrize("seed", range(20))
def test_what_is_said_in_other_small_words_is_said_as_captions_do(seed: int) -> None:
    whole = caption(look(seed))
    bare = re.sub(r"\b(with|wearing|in|at|under|a|the|dark) ", "", whole)
    assert bare != whole
    assert completed(bare.replace("portrait of person", "portrait of a person"), 3) == (whole, ())


def test_nothing_is_added_that_would_not_be_read() -> None:
    made, added = completed("portrait of a person, smiling", 0, fits=lambda text: len(text.split()) <= 9)
    assert len(made.split()) <= 9
    assert len(added) == 1
    assert completed("portrait of a person", 0, fits=lambda text: False) == ("portrait of a person", ())


@pytest.mark.parametrize("prompt", ["", "  ", "portrait of a person, (red hoodie:1.4)"])
def test_empty_and_weighted_prompts_stay(prompt: str) -> None:
    assert completed(prompt, 1) == (prompt, ())

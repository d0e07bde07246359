"""The base model's parts: one token for each word of the world, and any other text too."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from facefact.train.base_model import BaseConfig, learn_merges, new_tokenizer
from facefact.world import HELD_OUT, caption, corpus, look


@pytest.fixture(scope="module")
def tokenizer():
    return new_tokenizer(BaseConfig())


def test_every_word_of_the_world_is_one_token(tokenizer) -> None:
    words = {word for line in corpus() for word in line.replace(",", " ").replace("-", " ").split()}
    for word in words:
        assert len(tokenizer(word).input_ids) == 3, word  # start, the word, end


def test_captions_fit(tokenizer) -> None:
    """One in hundreds has one token too many: it loses the last word of "warm light", and is still like no other."""
    captions = sorted({caption(look(seed)) for seed in range(1000)})
    longest = BaseConfig().text_length
    lengths = np.array([len(tokenizer(words).input_ids) for words in captions])
    assert (lengths > longest).mean() < 0.01
    assert lengths.max() <= longest + 1
    read = {tuple(tokenizer(words, truncation=True, max_length=longest).input_ids) for words in captions}
    assert len(read) == len(captions)


def test_any_text_survives(tokenizer) -> None:
    for text in ("an astronaut, riding; a horse!", "garçon à l'école", "日本"):
        back = tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True)
        assert back.replace(" ", "") == text.replace(" ", "")


def test_merges_are_byte_pair_encoding() -> None:
    """The example of Sennrich et al. 2016, table 1: low, lowest, newer, wider."""
    words = Counter({"low": 5, "lowest": 2, "newer": 6, "wider": 3})
    merges = learn_merges(words, sorted("deilnorstw"))
    assert merges[:3] == [("e", "r</w>"), ("l", "o"), ("e", "w")]  # 9, 7, 6 (and "e" is older than "n")
    whole = {a + b for a, b in merges}
    assert {word + "</w>" for word in words} <= whole
    assert learn_merges(Counter({"rare": 1}), "aer") == []


def test_the_tokenizer_is_the_same_every_time_and_comes_back_from_disk(tokenizer, tmp_path) -> None:
    from transformers import CLIPTokenizer

    tokenizer.save_pretrained(tmp_path)
    words = caption(look(HELD_OUT + 3))
    ids = tokenizer(words, padding="max_length", truncation=True).input_ids
    for other in (new_tokenizer(BaseConfig()), CLIPTokenizer.from_pretrained(tmp_path)):
        assert other(words, padding="max_length", truncation=True).input_ids == ids
    assert len(ids) == 40

"""The base model's parts: one token for each word of the world, and any other text too."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from facefact.faces.align import alignment, inverse
from facefact.train.bundle.base_model import (
    BaseConfig,
    BaseStage,
    learn_merges,
    new_scheduler,
    new_text_encoder,
    new_tokenizer,
    new_unet,
)
from facefact.train.losses.diffusion import eyes_and_mouth
from facefact.train.material.encode import tokenize
from facefact.world import HELD_OUT, caption, corpus, look, person, render


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


def test_eyes_and_mouth_are_where_the_picture_has_them() -> None:
    for seed in range(8):
        marks = render(person(seed), look(seed)).landmarks
        place = torch.from_numpy(inverse(alignment(marks))).float()[None]
        near = eyes_and_mouth(place, (128, 128), 1)[0]
        for x, y in [marks[0], marks[1], marks[3:].mean(0)]:
            assert near[round(float(y)), round(float(x))] > 0.8
        assert near[:20].max() < 0.01, "the sky"
        assert 0.02 < near.mean() < 0.12


def test_an_error_in_the_mouth_counts_as_much_as_the_setting_says(tokenizer) -> None:
    torch.manual_seed(0)
    config = BaseConfig(widths=(16, 32), heads=(1, 2), latent_channels=4, text_width=32, text_layers=1)
    marks = render(person(3), look(3)).landmarks
    batch = {
        "latents": torch.randn(2, 4, 16, 16),
        "face": torch.zeros(2, 16, 16),
        "ids": tokenize(tokenizer, ["portrait of a person"] * 2),
        "head_to_picture": torch.from_numpy(inverse(alignment(marks))).float().expand(2, 2, 3),
    }
    batch["face"][:, 4:12, 5:11] = 1
    batch["light"] = torch.tensor([0.25, 0.25])
    parts = new_unet(config), new_text_encoder(config, tokenizer), new_scheduler()

    def losses(face: float, feature: float, weber: float = 0.0) -> dict[str, float]:
        stage = BaseStage(*parts, face_weight=face, feature_weight=feature, weber=weber)
        torch.manual_seed(1)  # the same noise
        return {name: float(term.detach()) for name, term in stage(batch).items()}

    plain = losses(1, 1)
    assert plain["loss"] == pytest.approx(plain["plain_loss"], rel=1e-5)
    features = float(eyes_and_mouth(batch["head_to_picture"], (16, 16), 8)[0].sum())
    for face, feature in ((3, 1), (1, 9), (3, 9)):
        said = losses(face, feature)
        total = (
            256 * said["plain_loss"]
            + (face - 1) * 48 * said["face_loss"]
            + (feature - 1) * features * said["feature_loss"]
        )
        assert said["loss"] == pytest.approx(total / (256 + (face - 1) * 48 + (feature - 1) * features), rel=1e-4)
    twice, faces = losses(1, 1, weber=1), losses(2, 1)  # at half of middle grey
    assert twice["loss"] == pytest.approx(faces["loss"], rel=1e-5) != pytest.approx(plain["loss"], rel=1e-5)

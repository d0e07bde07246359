"""Glasses, hats and hair by a real CLIP at tiny size: its own scores, and what is said of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from candidates import avatars, candidate, portrait
from facefact.data.attributes import ATTRIBUTES, Attributes, head_of, open_attributes, phrases_of
from facefact.data.cover import masks
from facefact.data.prepare_config import CaptionSettings
from facefact.data.stages import Inspected, Tools, captions
from facefact.faces import face_quality
from facefact.types import UserError
from portraits import SETTINGS


def saved_clip(directory: Path) -> str:
    """A tiny CLIP of random weights with a strong temperature, as the hub's repositories look."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    words = sorted({word for texts in ATTRIBUTES.values() for text in texts.values() for word in text.split()})
    letters = sorted({letter for word in words for letter in word})
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (directory / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": len(vocabulary) - 2, "eos_token_id": len(vocabulary) - 1, "pad_token_id": 0}
    text = {**small, **ends, "vocab_size": len(vocabulary), "max_position_embeddings": 77, "initializer_range": 0.5}
    vision = {**small, "image_size": 32, "patch_size": 8, "initializer_range": 0.5}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16, logit_scale_init_value=4.0)
    CLIPModel(config).save_pretrained(directory)
    tokenizer = CLIPTokenizer(str(directory / "vocab.json"), str(directory / "merges.txt"))
    pixels = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(pixels, tokenizer).save_pretrained(directory)
    (directory / "README.md").write_text("---\nlicense: mit\n---\n")
    return str(directory)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    return saved_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def heads() -> list[np.ndarray]:
    return [portrait(who, 3, size=64 + who) for who in range(5)]


def test_the_shares_are_the_models_own(clip, heads) -> None:
    from transformers import CLIPModel, CLIPProcessor

    read = Attributes(CaptionSettings(attributes=clip), offline=True)
    made = read.shares(heads)
    model, processor = CLIPModel.from_pretrained(clip), CLIPProcessor.from_pretrained(clip)
    for name, texts in ATTRIBUTES.items():
        inputs = processor(text=list(texts.values()), images=heads, return_tensors="pt", padding=True)
        with torch.no_grad():
            expected = model(**inputs).logits_per_image.softmax(1)
        np.testing.assert_allclose(made[name], expected, atol=2e-2)
        np.testing.assert_allclose(made[name].sum(1), 1, rtol=1e-5)
    assert read.licence == "mit"


def test_batches_change_nothing(clip, heads) -> None:
    alone, together = (
        Attributes(CaptionSettings(attributes=clip, batch=batch), offline=True).describe(heads) for batch in (1, 4)
    )
    assert alone == together
    known = {words for texts in ATTRIBUTES.values() for words in texts}
    assert any(alone)
    assert {phrase for one in alone for phrase in one} <= known - {""}


def shares(**sure: str) -> dict[str, np.ndarray]:
    """Of each attribute one description sure, the others none; those not named are undecided."""
    table = {name: np.full(len(texts), 1 / len(texts)) for name, texts in ATTRIBUTES.items()}
    for name, words in sure.items():
        key = name.replace("_", "'s ")
        table[key] = np.array([0.9 if one == words else 0.1 / (len(table[key]) - 1) for one in ATTRIBUTES[key]])
    return table


def test_only_what_is_sure_is_said() -> None:
    assert phrases_of(shares()) == []
    assert phrases_of(shares(glasses="wearing sunglasses", hat="")) == ["wearing sunglasses"]
    both = shares(hair_length="long hair", hair_colour="red hair")
    assert phrases_of(both) == ["long hair", "red hair"]
    assert phrases_of(shares(hair_length="bald", hair_colour="red hair")) == ["bald"]
    under = shares(hat="wearing a cap", hair_length="bald", hair_colour="grey hair")
    assert phrases_of(under) == ["wearing a cap"]


def test_the_words_stand_behind_the_subject_and_an_own_caption_stays(clip) -> None:
    one = candidate(portrait())
    looked = Inspected(one, face_quality(one.picture.pixels, one.face), masks(one, avatars()), 0.0, None)
    own = replace(one.picture.entry, caption="me, smiling")
    kept = replace(looked, candidate=replace(one, picture=replace(one.picture, entry=own)))
    read = Attributes(CaptionSettings(attributes=clip), offline=True)
    tools = Tools(avatars(), (), None, None, read)
    plain = captions([looked], replace(tools, attributes=None), SETTINGS)[0][0]
    (said, by), (input_said, input_by) = captions([looked, kept], tools, SETTINGS)
    phrases = read.describe([head_of(one.picture.pixels, looked.masks.head)])[0]
    subject, *others = plain.split(", ")
    assert said == ", ".join([subject, *phrases, *others])
    assert (by, input_said, input_by) == ("words", "me, smiling", "input")
    assert {"stage": "caption", "name": clip, "licence": "mit"} in tools.about()


def test_the_head_with_some_room() -> None:
    pixels = np.arange(100 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 80, 3)
    head = np.zeros((100, 80), bool)
    head[20:60, 30:60] = True
    part = head_of(pixels, head)
    assert part.shape[:2] == (51, 51)
    assert np.array_equal(part, pixels[15:66, 20:71])
    head[:, :] = True
    assert head_of(pixels, head).shape == pixels.shape
    assert head_of(pixels, np.zeros((100, 80), bool)) is pixels


def test_a_model_that_cannot_be_had_is_one_line(tmp_path) -> None:
    assert open_attributes(CaptionSettings()) is None
    (tmp_path / "config.json").write_text("{}")
    for name in (str(tmp_path), "owner/absent"):
        with pytest.raises(UserError, match="cannot be opened as a zero-shot image classifier") as caught:
            open_attributes(CaptionSettings(attributes=name), offline=True)
        assert "\n" not in str(caught.value)

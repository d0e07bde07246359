"""Captions: what was measured, in words; and vision-language models of transformers, the real classes at tiny sizes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from candidates import avatars, candidate, decoded, portrait
from facefact.data.caption import Captioner, one_line, open_captioner, words
from facefact.data.cover import masks
from facefact.data.prepare_config import CaptionSettings
from facefact.data.records import Candidate, Masks
from facefact.faces import face_quality
from facefact.types import Pose, UserError

# In words


def said(one: Candidate, found: Masks | None = None) -> list[str]:
    """The caption's phrases."""
    quality = face_quality(one.picture.pixels, one.face)
    return words(one, quality, found or masks(one, avatars())).split(", ")


def pictured(pixels: np.ndarray) -> list[str]:
    """Of another picture of the same head, in the same place."""
    one = candidate(portrait())
    return said(replace(one, picture=decoded(pixels)), masks(one, avatars()))


def test_the_first_phrase_is_the_subject() -> None:
    one = candidate(portrait())
    assert said(one)[0] == "portrait of a person"
    photo = replace(one, face=replace(one.face, backend="mediapipe"))
    assert said(photo, masks(one, avatars()))[0] == "portrait photo of a person"
    assert len(set(said(one))) == len(said(one))


@pytest.mark.parametrize(
    ("pose", "phrase"),
    [
        (Pose(0, 0, 0), "facing the camera"),
        (Pose(-30, 0, 0), "looking slightly to the left"),
        (Pose(50, 0, 0), "looking to the right"),
        (Pose(0, 0, -20), "head tilted"),
    ],
)
def test_where_the_head_looks(pose: Pose, phrase: str) -> None:
    one = candidate(portrait())
    turned = replace(one, face=replace(one.face, pose=pose))
    assert phrase in said(turned, masks(one, avatars()))


def test_between_frontal_and_turned_nothing_is_said() -> None:
    one = candidate(portrait())
    unsure = said(replace(one, face=replace(one.face, pose=Pose(16, 0, 0))), masks(one, avatars()))
    assert not any("looking" in phrase or "facing" in phrase for phrase in unsure)


def test_avatars_look_where_they_were_drawn_to_look() -> None:
    left, right = (said(candidate(portrait(7, 11, pose=pose))) for pose in ("left", "right"))
    assert "facing the camera" not in left + right
    assert not any("right" in phrase for phrase in left if phrase.startswith("looking"))
    assert not any("left" in phrase for phrase in right if phrase.startswith("looking"))


@pytest.mark.parametrize(
    ("border", "phrase"), [(0, "close-up"), (100, "head and shoulders"), (200, "upper body"), (600, "from a distance")]
)
def test_framing_is_the_pictures_height_in_faces(border: int, phrase: str) -> None:
    one = candidate(portrait())
    height = 256 + 2 * border
    wide = np.full((height, height, 3), 90, np.uint8)
    wide[border : border + 256, border : border + 256] = one.picture.pixels
    box = tuple(value + border for value in one.face.box)
    face = replace(one.face, box=box, landmarks=one.face.landmarks + np.float32(border), oval=None)
    found = masks(one, avatars())
    head = np.zeros((height, height), bool)
    head[border : border + 256, border : border + 256] = found.head
    assert phrase in said(Candidate(decoded(wide), face), replace(found, head=head))


def test_light_from_one_side() -> None:
    lit = np.where(np.arange(256) < 128, 1.0, 0.5)[None, :, None]
    assert "light from the left" in pictured((portrait() * lit).astype(np.uint8))
    assert "light from the right" in pictured((portrait() * lit[:, ::-1]).astype(np.uint8))
    assert "dim light" in pictured((portrait() * 0.2).astype(np.uint8))


def test_black_and_white() -> None:
    grey = np.repeat(cv2.cvtColor(portrait(), cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    assert "black and white" in pictured(grey)
    assert "black and white" not in pictured(portrait())


@pytest.mark.parametrize(
    ("colour", "phrase"),
    [
        ((40, 80, 210), "plain blue background"),
        ((30, 150, 50), "plain green background"),
        ((120, 80, 50), "plain brown background"),
        ((25, 25, 28), "plain dark background"),
        ((252, 252, 252), "plain white background"),
        ((0, 0, 0), "black background"),
        ((128, 128, 128), "plain background"),
    ],
)
def test_the_colour_behind_the_head(colour: tuple[int, int, int], phrase: str) -> None:
    found = masks(candidate(portrait()), avatars())
    assert pictured(np.where(found.head[..., None], portrait(), np.array(colour, np.uint8)))[-1] == phrase


def test_a_blurred_background_is_told_from_a_sharp_one() -> None:
    noise = np.random.default_rng(0).integers(60, 200, (256, 256, 3), np.uint8)
    soft = cv2.GaussianBlur(cv2.resize(noise[:16, :16], (256, 256), interpolation=cv2.INTER_CUBIC), (0, 0), 3)
    found = masks(candidate(portrait()), avatars())
    behind = {name: np.where(found.head[..., None], portrait(), what) for name, what in {"n": noise, "s": soft}.items()}
    assert any("blurred" in phrase for phrase in pictured(behind["s"]))
    assert not any("blurred" in phrase for phrase in pictured(behind["n"]))


def test_the_size_of_the_picture_changes_no_word() -> None:
    one = candidate(portrait())
    found = masks(one, avatars())
    large = cv2.resize(one.picture.pixels, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    box = tuple(4 * value for value in one.face.box)
    face = replace(one.face, box=box, landmarks=one.face.landmarks * 4, oval=None)
    head = cv2.resize(found.head.astype(np.uint8), None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST) > 0
    enlarged = Candidate(decoded(large), face)
    assert said(enlarged, replace(found, head=head)) == said(one)


# By a model

WORDS = (
    *("a", "photo", "portrait", "of", "person", "man", "woman", "smiling", "dark", "light", "with", "hat"),
    *("the", "in", "and", "left", "right", "on", "wall", "tree"),
)


def saved_blip(directory: Path) -> str:
    """A tiny BLIP of random weights, with tokenizer and image settings, as the hub's repositories look."""
    import torch
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *WORDS]
    (directory / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    tokenizer = BertTokenizer(vocab=str(directory / "vocab.txt"), bos_token="[DEC]")
    wild = {"initializer_range": 0.5}  # so that what is said depends on the picture
    small = {**wild, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = {**small, **special, "vocab_size": len(vocabulary), "encoder_hidden_size": 32, "max_position_embeddings": 64}
    torch.manual_seed(0)
    model = BlipForConditionalGeneration(
        BlipConfig(text_config=text, vision_config={**small, "image_size": 32, "patch_size": 8})
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    form = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 3}
    names = {"image_processor_type": "BlipImageProcessor", "processor_class": "BlipProcessor"}
    (directory / "preprocessor_config.json").write_text(json.dumps({**form, **names}))
    (directory / "README.md").write_text("---\nlicense: bsd-3-clause\n---\n")
    return str(directory)


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved_blip(tmp_path_factory.mktemp("blip"))


def photos(count: int) -> list[np.ndarray]:
    """Pictures of different sizes and colours."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (2, 2, 3), np.uint8).repeat(20 + i, 0).repeat(31, 1) for i in range(count)]


def test_no_model_named_none_opened() -> None:
    assert open_captioner(CaptionSettings()) is None


@pytest.mark.parametrize("prompt", [None, "a photo of"])
def test_batches_change_nothing(blip: str, prompt: str | None) -> None:
    settings = CaptionSettings(model=blip, prompt=prompt, max_new_tokens=8)
    alone = Captioner(replace(settings, batch=1), offline=True).describe(photos(5))
    together = Captioner(replace(settings, batch=4), offline=True).describe(photos(5))
    assert alone == together
    assert len(set(alone)) > 1
    assert all(set(line.split()) <= set(WORDS) for line in alone)
    assert all(line.startswith(prompt or "") for line in alone)


def test_its_name_and_licence_are_for_the_card(blip: str) -> None:
    captioner = open_captioner(CaptionSettings(model=blip, max_new_tokens=2), offline=True)
    assert captioner is not None
    assert (captioner.name, captioner.licence) == (blip, "bsd-3-clause")
    assert captioner.describe([]) == []


def test_a_model_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for name in (str(tmp_path), str(tmp_path / "absent"), "owner/absent"):
        with pytest.raises(UserError, match=r"^[^\n]+$") as caught:
            open_captioner(CaptionSettings(model=name), offline=True)
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (' "A man\n in a\that." ', "A man in a hat"),
        ("a \u2028 b\x00c", "a b c"),
        ("", ""),
        ("Über alles.", "Über alles"),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text) == line

"""Batches of portraits: several prompts, seeds and people at a time, each picture as if it were made alone."""

from __future__ import annotations

import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from facefact.faces import face_from_landmarks
from facefact.generate import FaceCache, Settings, text_to_image, text_to_images
from facefact.types import Face, FaceTokens, Portrait, UserError

FIRST = Settings(prompt="a red coat", seed=7, steps=2)
MANY = [
    FIRST,
    replace(FIRST, seed=8),
    replace(FIRST, prompt="a hat", negative_prompt="snow"),
    replace(FIRST, prompt="a much longer prompt"),
    replace(FIRST, seed=9),
]


@pytest.fixture
def people(adapter: Any) -> list[FaceTokens]:
    """Five: the fourth is known by two photos."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        return [
            adapter.tokens(torch.rand(n, 3, 112, 112, generator=generator) * 2 - 1).to(torch.float32)
            for n in (1, 1, 1, 2, 1)
        ]


def array(portrait: Portrait) -> np.ndarray:
    return np.asarray(portrait.image).astype(int)


def calls_of(pipe: Any) -> list[int]:
    """The batch of every call of the U-Net from now on."""
    sizes: list[int] = []
    pipe.unet.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    return sizes


@pytest.mark.parametrize("name", ["PNDM", "EulerAncestralDiscrete", "LCM"])
def test_each_is_the_one_that_is_made_alone(name: str, pipe: Any, adapter: Any, people: list[FaceTokens]) -> None:
    pipe.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(pipe.scheduler.config)
    alone = [text_to_image(pipe, adapter, people[0], one) for one in MANY]
    sizes = calls_of(pipe)
    together = list(text_to_images(pipe, adapter, people[0], MANY, batch=3))
    assert [size // 2 for size in sizes] == [3] * (len(sizes) // 2) + [2] * (len(sizes) // 2)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(array(one), array(other), atol=1)
        assert one.recipe == other.recipe
    assert all((array(a) != array(b)).any() for a, b in zip(together, together[1:], strict=False))


def test_several_people_in_one_batch(pipe: Any, adapter: Any, people: list[FaceTokens]) -> None:
    same = [replace(FIRST, seed=5)] * 5
    origins = [{"faces": [str(i)]} for i in range(5)]
    alone = [text_to_image(pipe, adapter, person, same[0]) for person in people]
    sizes = calls_of(pipe)
    together = list(text_to_images(pipe, adapter, people, same, batch=4, origin=origins))
    assert {size // 2 for size in sizes} == {3, 1}, "another number of photos is a batch of its own"
    for one, other, origin in zip(alone, together, origins, strict=True):
        np.testing.assert_allclose(array(one), array(other), atol=1)
        assert other.recipe["faces"] == origin["faces"]
    assert (array(together[0]) != array(together[1])).any()


def test_other_settings_are_another_batch(pipe: Any, adapter: Any, people: list[FaceTokens]) -> None:
    mixed = [FIRST, replace(FIRST, scale=0.0), replace(FIRST, scale=0.0, seed=2), replace(FIRST, width=72)]
    together = list(text_to_images(pipe, adapter, people[0], mixed, batch=4))
    assert [portrait.image.width for portrait in together] == [64, 64, 64, 72]
    adapter.detach()
    base = pipe(
        ["a red coat"] * 2,
        num_inference_steps=2,
        guidance_scale=5.0,
        generator=[torch.Generator().manual_seed(seed) for seed in (7, 2)],
    ).images
    for portrait, image in zip(together[1:3], base, strict=True):
        np.testing.assert_array_equal(array(portrait), np.asarray(image))


def test_pictures_come_batch_by_batch_and_are_not_held(pipe: Any, adapter: Any, people: list[FaceTokens]) -> None:
    steps: list[int] = []
    made = text_to_images(pipe, adapter, people[0], MANY * 2, batch=5, on_step=lambda: steps.append(1))
    assert not steps, "nothing is made before it is asked for"
    first = next(made)
    once = len(steps)
    assert once >= FIRST.steps
    for _ in range(4):
        next(made)
    assert len(steps) == once, "the first batch holds five"
    image = weakref.ref(first.image)
    del first
    next(made)
    assert len(steps) == 2 * once
    assert image() is None, "memory is that of one batch"


def test_what_does_not_fit_is_said_at_once(pipe: Any, adapter: Any, people: list[FaceTokens]) -> None:
    with pytest.raises(UserError, match="2 people for 5 pictures"):
        text_to_images(pipe, adapter, people[:2], MANY)
    with pytest.raises(UserError, match="at least 1"):
        text_to_images(pipe, adapter, people[0], MANY, batch=0)


def test_a_batch_takes_less_time_than_its_pictures_alone(pipe: Any, adapter: Any, people: list[FaceTokens]) -> None:
    """The tiny model's time is overhead, which a batch has once."""
    wanted = [replace(FIRST, seed=seed) for seed in range(8)]

    def seconds(batch: int) -> float:
        began = time.process_time()
        list(text_to_images(pipe, adapter, people[0], wanted, batch=batch))
        return time.process_time() - began

    seconds(8)
    alone, together = (min(seconds(batch) for _ in range(2)) for batch in (1, 8))
    assert together < 0.7 * alone


class Counting:
    """A detector that knows where the face is, and counts how often it is asked."""

    name, licence = "counting", ""
    asked = 0

    def detect(self, picture: np.ndarray) -> list[Face]:
        self.asked += 1
        points = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)
        return [face_from_landmarks(points * scale + 20) for scale in (1.0, 0.5)]

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        return np.ones(picture.shape[:2], bool)


def test_a_face_is_encoded_once(adapter: Any, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        pixels = np.random.default_rng(seed).integers(0, 256, (160, 160, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    a, b, copy = (tmp_path / f"{name}.png" for name in ("a", "b", "copy"))
    detector = Counting()
    known = FaceCache(adapter, detector=detector, size=4)
    tokens = known(a)
    assert known(a) is known(copy) is tokens, "the contents count, not the name"
    assert detector.asked == 1
    torch.testing.assert_close(tokens.face, adapter.encode(a, detector=detector).face)
    others = [known(b), known(a, b), known(a, which=1)]
    assert detector.asked == 6
    assert len({(one.face.shape, one.face[0, 0, 0].item()) for one in (tokens, *others)}) == 4
    known(b, a)  # the fifth: what was asked for longest ago is forgotten
    assert known(b) is others[0]
    assert known(a) is not tokens
    a.write_bytes(b.read_bytes())
    assert known(a) is others[0], "a changed file is another face"
    with pytest.raises(UserError, match="no such file"):
        known(tmp_path / "nowhere.png")
    with pytest.raises(UserError, match="no picture"):
        known()


def test_a_face_is_what_this_caches_detector_says(
    adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cache keeps to its own detector, and never asks for another, whatever is wrong with a photo."""

    class Elsewhere(Counting):
        def detect(self, picture: np.ndarray) -> list[Face]:
            return super().detect(picture)[1:]

    def refuse() -> None:
        raise AssertionError("another detector was opened")

    monkeypatch.setattr("facefact.faces.crop.get_detector", refuse)
    pixels = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    one, other = (FaceCache(adapter, detector=detector) for detector in (Counting(), Elsewhere()))
    assert (one(tmp_path / "a.png").face != other(tmp_path / "a.png").face).any()
    with pytest.raises(UserError, match="no such file"):
        one(tmp_path / "a.png", tmp_path / "nowhere.png")

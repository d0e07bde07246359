"""Batches of portraits: several prompts, seeds and people at a time, each picture as if it were made alone."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from facefact.generate import Settings, text_to_image, text_to_images
from facefact.types import FaceTokens, Portrait, UserError

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
        ["a red coat"] * 2, num_inference_steps=2, guidance_scale=5.0,
        generator=[torch.Generator().manual_seed(seed) for seed in (7, 2)],
    ).images  # fmt: skip
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

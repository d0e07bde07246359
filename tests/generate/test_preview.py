"""Previews: what is behind the noise, from two steps of a sampler; and that looking changes nothing."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from facefact.generate import Settings, text_to_images
from facefact.generate.preview import SIDE, behind_noise, noise_level, small_pictures
from facefact.types import FaceTokens

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def test_a_step_that_changes_no_noise_shows_nothing() -> None:
    scheduler = diffusers.PNDMScheduler(skip_prk_steps=True, **BETAS)
    scheduler.set_timesteps(8)
    same = torch.zeros(1, 4, 8, 8)
    assert [step for step in range(7) if behind_noise(scheduler, step, same, same) is None] == [1]


@pytest.mark.parametrize("name", ["DDIM", "EulerDiscrete"])
@pytest.mark.parametrize("step", [0, 3, 6])
def test_a_model_that_knows_the_picture_shows_it_after_any_step(name: str, step: int) -> None:
    """With the true noise as the model's answer a step stays on the straight way, and the picture comes out exactly."""
    scheduler = getattr(diffusers, f"{name}Scheduler")(prediction_type="epsilon", **BETAS)
    if name == "DDIM":
        scheduler.register_to_config(clip_sample=False)
    scheduler.set_timesteps(8)
    generator = torch.Generator().manual_seed(step)
    picture, noise = torch.randn(2, 2, 4, 8, 8, generator=generator)
    a, s = noise_level(scheduler, step)
    before = a * picture + s * noise
    after = scheduler.step(noise, scheduler.timesteps[step], before).prev_sample
    assert not torch.allclose(after, before)
    torch.testing.assert_close(behind_noise(scheduler, step, before, after), picture, atol=2e-3, rtol=1e-3)


def test_looking_changes_nothing_and_each_picture_has_its_own(pipe: Any, adapter: Any) -> None:
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        people = [adapter.tokens(torch.rand(1, 3, 112, 112, generator=generator) * 2 - 1) for _ in range(3)]
    wanted = [Settings(prompt="a coat", steps=8, seed=seed) for seed in range(3)]

    def arrays(people: list[FaceTokens], **how: Any) -> list[np.ndarray]:
        return [np.asarray(one.image) for one in text_to_images(pipe, adapter, people, wanted, batch=2, **how)]

    seen: list[tuple[int, Image.Image]] = []
    looked = arrays(people, on_preview=lambda number, image: seen.append((number, image)))
    for one, other in zip(looked, arrays(people), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [number for number, _ in seen] == [0, 1] * 3 + [2] * 3


def test_a_preview_that_overflows_spoils_no_picture(pipe: Any) -> None:
    from facefact.generate.finite import finite_pictures

    latents = torch.full((1, pipe.vae.config.latent_channels, 4, 4), torch.inf)
    with finite_pictures(pipe):
        assert len(small_pictures(pipe.vae, latents)) == 1


def test_few_steps_have_no_preview(pipe: Any, adapter: Any) -> None:
    with torch.no_grad():
        tokens = adapter.tokens(torch.zeros(1, 3, 112, 112))
    seen: list[int] = []
    settings = [Settings(prompt="a coat", steps=1)]
    assert list(text_to_images(pipe, adapter, tokens, settings, on_preview=lambda number, _: seen.append(number)))
    assert seen == []


def test_large_pictures_are_shown_small(pipe: Any) -> None:
    scale = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    side = 3 * SIDE // scale
    latents = torch.randn(
        1, pipe.vae.config.latent_channels, side, side // 2, generator=torch.Generator().manual_seed(0)
    )
    (image,) = small_pictures(pipe.vae, latents)
    assert max(image.size) == SIDE
    assert image.size[0] < image.size[1]

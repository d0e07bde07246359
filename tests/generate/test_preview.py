"""Previews: what is behind the noise, as the model answers; and that looking changes nothing."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from facefact.generate import Settings, text_to_images
from facefact.generate.preview import SIDE, Preview, behind_noise, noise_level, small_pictures
from facefact.types import FaceTokens

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", ["DDIM", "DDPM", "EulerDiscrete", "EulerAncestralDiscrete", "DPMSolverMultistep"])
@pytest.mark.parametrize("step", [0, 3, 7])
def test_a_model_that_knows_the_picture_shows_it_at_any_step(name: str, kind: str, step: int) -> None:
    scheduler = getattr(diffusers, f"{name}Scheduler")(prediction_type=kind, **BETAS)
    scheduler.set_timesteps(8)
    generator = torch.Generator().manual_seed(step)
    picture, noise = torch.randn(2, 2, 4, 8, 8, generator=generator)
    a, s = noise_level(scheduler, step)
    whole = (a * a + s * s) ** 0.5
    answer = {"epsilon": noise, "v_prediction": (a * noise - s * picture) / whole, "sample": picture}[kind]
    seen = behind_noise(scheduler, step, a * picture + s * noise, answer)
    torch.testing.assert_close(seen, picture, atol=2e-3, rtol=1e-3)


def test_what_a_scheduler_is_given_is_seen_and_its_step_looks_as_before() -> None:
    scheduler = diffusers.DDPMScheduler(**BETAS)
    scheduler.set_timesteps(8)
    before, given = inspect.signature(scheduler.step), torch.randn(2, 1, 4, 8, 8)
    preview = Preview(lambda number, image: None, [0], 8)
    with preview.watching(scheduler):
        assert inspect.signature(scheduler.step) == before, "pipelines ask it what it takes"
        scheduler.step(given[0], scheduler.timesteps[2], given[1], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(preview.answer, given[0])
    torch.testing.assert_close(preview.latents, given[1])
    assert "step" not in vars(scheduler)


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

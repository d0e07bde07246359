from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from facefact.generate.repaint import Noise, repaint, watched
from inpainting import picture
from tiny import tiny_pipeline


@pytest.mark.parametrize("name", ["PNDM", "DDIM", "EulerDiscrete", "DPMSolverMultistep"])
def test_what_the_mask_leaves_out_ends_as_the_image_itself(name: str) -> None:
    """With nothing to paint, the result is the image through the autoencoder, whatever the noise and the scheduler."""
    pipe = tiny_pipeline()
    pipe.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(pipe.scheduler.config)
    image = Image.fromarray(picture(64, 64))
    arguments = {"prompt": "x", "image": [image], "num_inference_steps": 4, "strength": 0.8, "output_type": "pt"}
    out = repaint(pipe, arguments, freedom=np.zeros((1, 64, 64)), on_step=None).images
    with torch.no_grad():
        latents = pipe.vae.encode(pipe.image_processor.preprocess(image)).latent_dist.mode()
        expected = (pipe.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=0)


def latents_by_step(freedom: np.ndarray, *, steps: int = 8) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The latents after every step of a whole repainting (DDIM), and the image's own."""
    pipe = tiny_pipeline()
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    image, seen = Image.fromarray(picture(64, 64)), []
    arguments = {
        "prompt": "x",
        "image": [image],
        "num_inference_steps": steps,
        "strength": 1.0,
        "generator": torch.Generator().manual_seed(3),
    }
    step = pipe.scheduler.step

    def keep(prediction: Any, timestep: Any, latents: torch.Tensor, **more: Any) -> Any:
        seen.append(latents.clone())
        return step(prediction, timestep, latents, **more)

    pipe.scheduler.step = keep
    repaint(pipe, arguments, freedom=freedom[None], on_step=None)
    with torch.no_grad():
        clean = pipe.vae.encode(pipe.image_processor.preprocess(image)).latent_dist.mode()
    return seen, clean * pipe.vae.config.scaling_factor


def test_outside_is_the_image_under_one_and_the_same_noise_from_the_first_step() -> None:
    freedom = np.zeros((64, 64))
    freedom[:, :32] = 1
    seen, clean = latents_by_step(freedom)
    scheduler = diffusers.DDIMScheduler.from_config(tiny_pipeline().scheduler.config)
    scheduler.set_timesteps(8)
    kept = np.s_[..., 5:]
    noises = []
    for latents, timestep in zip(seen, scheduler.timesteps, strict=True):
        alpha = scheduler.alphas_cumprod[timestep]
        noises.append(((latents - alpha.sqrt() * clean) / (1 - alpha).sqrt())[kept])
    for noise in noises[1:]:
        torch.testing.assert_close(noise, noises[1], atol=1e-3, rtol=0)
    torch.testing.assert_close(noises[0], noises[1], atol=0.2, rtol=0)  # the call itself samples its autoencoder


def test_a_pixel_changes_in_the_last_part_of_the_schedule_that_it_is_free_in() -> None:
    never, late = latents_by_step(np.zeros((64, 64)))[0], latents_by_step(np.full((64, 64), 0.4))[0]
    same = [bool(torch.equal(a, b)) for a, b in zip(never, late, strict=True)]
    # eight steps; with 3 of them left (0.375 of the schedule) it is free, which the step after that one sees
    assert same == [True] * 5 + [False] * 3


def test_a_scheduler_that_was_watched_is_as_before() -> None:
    scheduler, own = diffusers.DDIMScheduler(), Noise()
    before = scheduler.add_noise
    with watched(scheduler, own):
        scheduler.add_noise(torch.zeros(1), torch.ones(1), torch.tensor([5]))
    assert scheduler.add_noise == before
    assert own.drawn is not None
    assert own.drawn.item() == 1

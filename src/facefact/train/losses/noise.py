"""How much noise a training step adds, and what the model is asked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from facefact.train.engine.processes import rows

LENGTH = 1000  # timesteps of Stable Diffusion's noise schedules


def spread_timesteps(
    n: int, device: torch.device, *, length: int = LENGTH, middle: float = 0.0, high_noise: float = 1.0
) -> Tensor:
    """(n,) timesteps, one drawn from each n-th part of a density (n times the processes: together they are one batch);
    with u uniform in [0, 1),

        v = u + middle * sin(2 pi u) / (2 pi),    t = length * (1 - (1 - v) ** high_noise).

    middle in [0, 1): more in the middle of the schedule (density 1 / (1 - middle) there, 1 / (1 + middle) at the ends),
    where a picture's layout is decided. high_noise above 1: more towards the noisy end, where a face is.
    """
    u = rows(lambda total: (torch.arange(total, device=device) + torch.rand(total, device=device)) / total, n)
    v = u + middle * torch.sin(2 * torch.pi * u) / (2 * torch.pi)
    return (length * (1 - (1 - v).clamp(min=0) ** high_noise)).long().clamp(0, length - 1)


def noised(scheduler: Any, latents: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """`with_noise`, the noise drawn (each sample's whatever process has it)."""
    noise = rows(lambda total: torch.randn(total, *latents.shape[1:], device=latents.device), len(latents))
    return with_noise(scheduler, latents, noise, timesteps)


def with_noise(scheduler: Any, latents: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Noised latents and what the model has to predict, the noise or the velocity: all (b, c, h, w). scheduler:
    diffusers', of epsilon or v_prediction; timesteps: (b,)."""
    sample = scheduler.add_noise(latents, noise, timesteps)
    if scheduler.config.prediction_type == "epsilon":
        return sample, noise
    return sample, scheduler.get_velocity(latents, noise, timesteps)

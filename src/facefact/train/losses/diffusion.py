"""The diffusion loss: squared error of the prediction, weighted by timestep (min-SNR) and by place (the face)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def snr_weight(scheduler: Any, timesteps: Tensor, gamma: float | None) -> Tensor:
    """(b,) weights of min-SNR (Hang et al. 2023): min(snr, gamma) in terms of the clean latents, translated to what the
    model predicts: over snr for epsilon, over snr + 1 for v. Ones without gamma. scheduler: diffusers', for its table
    of noise levels; timesteps: (b,)."""
    if gamma is None:
        return torch.ones(len(timesteps), device=timesteps.device)
    signal = scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
    snr = signal / (1 - signal)
    by = snr + 1 if scheduler.config.prediction_type == "v_prediction" else snr.clamp(min=1e-8)
    return snr.clamp(max=gamma) / by


def clean_latents(scheduler: Any, sample: Tensor, predicted: Tensor, timesteps: Tensor) -> Tensor:
    """What the model believes the latents without noise to be, from its prediction: (b, c, h, w), as sample and
    predicted are. timesteps: (b,)."""
    signal = scheduler.alphas_cumprod.to(sample.device)[timesteps].view(-1, 1, 1, 1)
    if scheduler.config.prediction_type == "v_prediction":
        return signal.sqrt() * sample - (1 - signal).sqrt() * predicted
    return (sample - (1 - signal).sqrt() * predicted) / signal.sqrt().clamp(min=1e-3)


def diffusion_loss(predicted: Tensor, target: Tensor, face: Tensor, *, face_weight: float, weight: Tensor) -> Tensor:
    """Squared error, the face's `face_weight` times as important as the rest; a number. predicted, target:
    (b, c, h, w); face: (b, h, w) in [0, 1]; weight: (b,) of each sample."""
    place = 1 + (face_weight - 1) * face[:, None]
    error = (predicted - target).square() * place * weight.view(-1, 1, 1, 1)
    return error.mean() / place.mean()

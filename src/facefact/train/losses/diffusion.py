"""The diffusion loss: squared error of the prediction, weighted by timestep (min-SNR) and by place (the face,
and eyes and mouth most)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from facefact.faces.align import TEMPLATE


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


# Where eyes with their brows and the mouth are in the aligned head, and how far they reach, in its pixels: (x, y,
# spread across, spread down).
FEATURES = (
    (*TEMPLATE[0].tolist(), 14.0, 12.0),
    (*TEMPLATE[1].tolist(), 14.0, 12.0),
    (*TEMPLATE[3:].mean(0).tolist(), 20.0, 12.0),
)


def eyes_and_mouth(head_to_picture: Tensor, grid: tuple[int, int], factor: float) -> Tensor:
    """(b, h, w) in [0, 1]: how near each latent cell is to an eye or to the mouth.

    head_to_picture: (b, 2, 3), pixels of the aligned head to those of the picture. grid: (h, w). factor: pixels of a
    cell's side.
    """
    middle = [(torch.arange(n, device=head_to_picture.device) + 0.5) * factor - 0.5 for n in grid]
    y, x = torch.meshgrid(*middle, indexing="ij")
    away = torch.stack([x, y], -1)[None] - head_to_picture[:, None, None, :, 2]  # (b, h, w, 2)
    at = away @ torch.linalg.inv(head_to_picture[:, :, :2]).transpose(1, 2)[:, None]
    near = [
        (((at[..., 0] - cx) / sx).square() + ((at[..., 1] - cy) / sy).square()).div(-2).exp()
        for cx, cy, sx, sy in FEATURES
    ]
    return torch.stack(near).amax(0)


DARKEST = 0.1  # mean luminance of a face below which its errors count no more than at it


def weber_weight(light: Tensor, power: float) -> Tensor:
    """(b,): how much more the error inside a face counts that is darker than middle grey, less in a brighter one:
    (0.5 / luminance) ** power.

    What the eye sees of a difference is its share of the brightness (Weber's law): brows and lips of dark skins differ
    little from it in numbers, and a plain squared error hardly asks for them. light: (b,) mean luminance of each face
    in [0, 1]. power: 0 for every face alike; 2: the squared error of relative brightness.
    """
    return (0.5 / light.clamp(min=DARKEST)) ** power


def place_weight(
    face: Tensor, features: Tensor, light: Tensor, *, face_weight: float, feature_weight: float, weber: float
) -> Tensor:
    """(b, h, w): how much each latent cell counts: outside the face 1, inside it `face_weight`, at eyes and mouth about
    `feature_weight` more, and inside the face by its brightness (`weber_weight`). face, features: (b, h, w) in [0, 1],
    the latter of `eyes_and_mouth`. light: (b,); weber: the power."""
    place = 1 + (face_weight - 1) * face + (feature_weight - 1) * features
    return place * (1 + (weber_weight(light, weber).view(-1, 1, 1) - 1) * face)


def diffusion_loss(predicted: Tensor, target: Tensor, place: Tensor, weight: Tensor) -> Tensor:
    """Squared error; a number. predicted, target: (b, c, h, w); place: (b, h, w) how much each cell counts, of which
    only the ratios matter; weight: (b,) of each sample."""
    error = (predicted - target).square() * place[:, None] * weight.view(-1, 1, 1, 1)
    return error.mean() / place.mean()


def mean_over(values: Tensor, where: Tensor) -> Tensor:
    """The mean of (b,) values where (b,) bool is True; 0 where none is."""
    counted = where.float()
    return (values * counted).sum() / counted.sum().clamp(min=1)

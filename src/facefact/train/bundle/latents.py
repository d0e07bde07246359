"""Latents of zero mean and unit variance in every channel, as the base model's noise has them.

The normalisation is affine, so it is folded into the autoencoder's own 1x1 convolutions (`quant_conv`,
`post_quant_conv`): pictures decode as before, the scaling factor is 1, and no pipeline has to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from facefact.metrics.views import to_pixels
from facefact.world import look, person, render, training_seed


@dataclass(frozen=True)
class LatentStatistics:
    """Per latent channel, over pictures and places. mean, std: (channels,) float64."""

    mean: Tensor
    std: Tensor


def render_pixels(seed: int, count: int, *, batch: int = 25) -> Iterator[Tensor]:
    """`count` whole renders of the training's people, the same ones for the same seed: (batch, 3, h, w) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    for first in range(0, count, batch):
        drawn = [
            render(person(training_seed(rng)), look(training_seed(rng)))
            for _ in range(first, min(count, first + batch))
        ]
        yield torch.stack([to_pixels(one.image) for one in drawn])


@torch.no_grad()
def measure_latents(autoencoder: AutoencoderKL, pixels_batches: Iterable[Tensor]) -> LatentStatistics:
    """Mean and standard deviation of the posterior mode's channels. pixels_batches: (b, 3, h, w) in [-1, 1] each.

    ValueError: none at all."""
    count, total, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for pixels in pixels_batches:
        mode = autoencoder.encode(pixels.to(autoencoder.device, autoencoder.dtype)).latent_dist.mode()
        values = mode.double().cpu().transpose(0, 1).flatten(1)  # (channels, pictures * places)
        count, total, squares = count + values.shape[1], total + values.sum(1), squares + values.square().sum(1)
    if not count:
        raise ValueError("no pixels to measure the latents on")
    mean = total / count
    return LatentStatistics(mean, (squares / count - mean.square()).clamp(min=1e-12).sqrt())


@torch.no_grad()
def normalise_latents(autoencoder: AutoencoderKL, pixels_batches: Iterable[Tensor]) -> LatentStatistics:
    """Fold (z - mean) / std into the autoencoder, in place; returns what `measure_latents` found before.

    With m and s of a channel: its posterior mean becomes (mean - m) / s and its log variance falls by 2 log s; the
    decoder reads W (s z + m) + b = (W s) z + (b + W m).
    """
    measured = measure_latents(autoencoder, pixels_batches)
    encode, decode = autoencoder.quant_conv, autoencoder.post_quant_conv
    channels = len(measured.mean)

    mean, std = measured.mean.to(encode.weight), measured.std.to(encode.weight)
    encode.weight[:channels] /= std[:, None, None, None]
    encode.bias[:channels] = (encode.bias[:channels] - mean) / std
    encode.bias[channels:] -= 2 * std.log()

    mean, std = measured.mean.to(decode.weight), measured.std.to(decode.weight)
    decode.bias += decode.weight[:, :, 0, 0] @ mean
    decode.weight *= std[None, :, None, None]

    autoencoder.register_to_config(scaling_factor=1.0)
    return measured

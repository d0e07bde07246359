"""The bundle's autoencoder: diffusers' AutoencoderKL, f8, 8 latent channels, small.

Loss: absolute and squared error, the face counted more (it is a fifth of the picture and carries the identity), and a
slight KL term. The first part of the training sees 64 px crops (four times the steps for the same work), the rest whole
pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn

from facefact.metrics.views import to_pixels
from facefact.train.engine.loop import Batches
from facefact.world import look, person, render, training_seed


@dataclass(frozen=True)
class AutoencoderConfig:
    widths: tuple[int, ...] = (32, 48, 96, 128)
    latent_channels: int = 8
    crop: int = 64
    crop_share: float = 0.7
    face_weight: float = 4.0
    kl: float = 1e-4


def new_autoencoder(config: AutoencoderConfig) -> AutoencoderKL:
    n = len(config.widths)
    return AutoencoderKL(
        block_out_channels=config.widths,
        down_block_types=("DownEncoderBlock2D",) * n,
        up_block_types=("UpDecoderBlock2D",) * n,
        latent_channels=config.latent_channels,
        norm_num_groups=8,
        sample_size=128,
        mid_block_add_attention=False,
    )


class AutoencoderStage(nn.Module):
    """The autoencoder and its loss."""

    def __init__(self, autoencoder: AutoencoderKL, config: AutoencoderConfig):
        super().__init__()
        self.autoencoder, self.config = autoencoder.to(memory_format=torch.channels_last), config

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """batch: as `portrait_batches` makes it. -> scalars: loss, and the three terms that it is made of."""
        pixels, face = batch["pixels"], batch["face"]
        latents = self.autoencoder.encode(pixels).latent_dist
        error = self.autoencoder.decode(latents.sample()).sample.float() - pixels
        weight = 1 + (self.config.face_weight - 1) * face
        absolute, squared = weighted_errors(error, weight)
        kl = 0.5 * (latents.mean.float().square() + latents.var.float() - 1 - latents.logvar.float()).mean()
        return {
            "loss": absolute + 2 * squared + self.config.kl * kl,
            "absolute": absolute,
            "squared": squared,
            "kl": kl,
        }


def weighted_errors(error: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean absolute and mean squared error. error: (b, 3, h, w); weight: (b, 1, h, w), of which only the ratios
    matter."""
    weight = weight / weight.mean()
    return (weight * error.abs()).mean(), (weight * error.square()).mean()


def portrait_batches(seed: int, batch: int, config: AutoencoderConfig, crop_steps: int, rank: int = 0) -> Batches:
    """step -> iterator of batches of renders, a pure function of the seed and the step: pixels (b, 3, h, w) in [-1, 1],
    face (b, 1, h, w) in {0, 1}. `batch` crops each for `crop_steps` steps, then a quarter as many whole pictures."""

    def sample(rng: np.random.Generator, crop: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """(3, h, w) pixels and (1, h, w) face. crop: pixels of its side, None for the whole picture."""
        drawn = render(person(training_seed(rng)), look(training_seed(rng)))
        image, face = drawn.image, drawn.face
        if crop:
            y, x = (int(v) for v in rng.integers(0, image.shape[0] - crop + 1, 2))
            image, face = image[y : y + crop, x : x + crop], face[y : y + crop, x : x + crop]
        return to_pixels(image), torch.from_numpy(face[None].astype(np.float32))

    def batches(step: int) -> Iterator[dict[str, torch.Tensor]]:
        while True:
            rng = np.random.default_rng((seed, step, rank))
            whole = step >= crop_steps
            n, crop = (max(1, batch // 4), None) if whole else (batch, config.crop)
            pixels, face = zip(*(sample(rng, crop) for _ in range(n)), strict=True)
            yield {
                "pixels": torch.stack(pixels).contiguous(memory_format=torch.channels_last),
                "face": torch.stack(face),
            }
            step += 1

    return batches

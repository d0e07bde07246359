"""Identity before diffusion: the resampler's warm-up, and the recogniser of latents behind the identity loss.

The diffusion loss teaches the resampler slowly whom the tokens show: most of that loss is not about the person. Two
pictures of a person must give one embedding, though, and that can be asked for directly, without the base model, in
minutes. Both networks here learn it from the cached set, with the margin of `recogniser.angular_margin_loss`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facefact.encoder import Resampler
from facefact.train.cache import Cache
from facefact.train.loop import Batches
from facefact.train.recogniser import angular_margin_loss
from facefact.types import UserError


def pair_batches(cache: Cache, *, people: int, seed: int, part: str, rank: int = 0) -> Batches:
    """Batches of two pictures each of `people` persons: (2 people, ...) of what the cache keeps as `part` ("tokens" or
    "latents"), person i in rows i and people + i. UserError: too few persons with two pictures."""
    groups = [rows for rows in by_person(cache) if len(rows) > 1]
    if len(groups) < 2:
        raise UserError("recognition is learned from pairs: at least two people with two pictures each are needed")
    people = min(people, len(groups))

    def batches_from(step: int) -> Iterator[dict[str, Tensor]]:
        while True:
            rng = np.random.default_rng((seed, step, rank))
            chosen = rng.choice(len(groups), people, replace=False)
            pairs = np.stack([rng.choice(groups[i], 2, replace=False) for i in chosen])
            index = np.concatenate([pairs[:, 0], pairs[:, 1]])
            yield {"x": cache.tokens_of(index) if part == "tokens" else cache.gather(index)["latents"]}
            step += 1

    return batches_from


def by_person(cache: Cache) -> list[np.ndarray]:
    """The pictures of each person, in the order of the persons' numbers."""
    order = np.argsort(cache.persons, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(cache.persons[order])) + 1)


class ResamplerStage(nn.Module):
    """A linear head on all of the resampler's tokens, for the warm-up alone; what it cannot read off them linearly, the
    adapter's layers would not find either."""

    def __init__(self, resampler: Resampler, *, embedding: int = 96) -> None:
        super().__init__()
        self.resampler = resampler
        self.head = nn.Linear(resampler.config.queries * resampler.config.output_width, embedding)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": angular_margin_loss(self.head(self.resampler(batch["x"]).flatten(1)))}


@dataclass(frozen=True)
class LatentRecogniserConfig:
    """channels, size: of the latents. widths: of the levels, each half the size of the one before."""

    channels: int
    size: int
    widths: tuple[int, ...] = (64, 128, 192)
    embedding: int = 96


class Block(nn.Module):
    """Pre-activation residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, width), nn.Conv2d(width, width, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, width), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class LatentRecogniser(nn.Module):
    """Who is shown, read off latents (b, channels, size, size) without decoding them -> (b, embedding)."""

    def __init__(self, config: LatentRecogniserConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        layers: list[nn.Module] = [nn.Conv2d(config.channels, widths[0], 3, padding=1)]
        for i, width in enumerate(widths):
            layers += [Block(width), Block(width)]
            if i + 1 < len(widths):
                layers.append(nn.Conv2d(width, widths[i + 1], 3, stride=2, padding=1))
        self.body = nn.Sequential(*layers, nn.GroupNorm(8, widths[-1]), nn.SiLU(), nn.AdaptiveAvgPool2d(4))
        self.head = nn.Sequential(nn.Linear(16 * widths[-1], 256), nn.SiLU(), nn.Linear(256, config.embedding))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))


class LatentRecogniserStage(nn.Module):
    """Half of the pictures get some noise, as a model's belief about clean latents never is quite clean."""

    def __init__(self, recogniser: LatentRecogniser, *, noise: float = 0.4) -> None:
        super().__init__()
        self.recogniser, self.noise = recogniser, noise

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        x = batch["x"]
        strength = self.noise * torch.rand(len(x), 1, 1, 1, device=x.device)
        noisy = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
        return {"loss": angular_margin_loss(self.recogniser(x + noisy * strength * torch.randn_like(x)))}


@torch.no_grad()
def person_centres(recogniser: LatentRecogniser, cache: Cache, *, batch: int = 256) -> Tensor:
    """(people, d): each person's mean unit embedding over all pictures, again of length 1."""
    device = next(recogniser.parameters()).device
    parts = [
        F.normalize(recogniser(cache.gather(rows)["latents"].float().to(device)).float(), dim=-1)
        for rows in np.array_split(np.arange(len(cache)), -(-len(cache) // batch))
    ]
    embeddings = torch.cat(parts)
    sums = torch.zeros(int(cache.persons.max()) + 1, embeddings.shape[1], device=device)
    sums.index_add_(0, torch.from_numpy(cache.persons).to(device), embeddings)
    return F.normalize(sums, dim=-1)

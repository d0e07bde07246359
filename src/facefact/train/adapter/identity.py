"""Identity, asked for directly: the resampler's warm-up before the diffusion, and the identity loss beside it.

The diffusion loss teaches slowly whom the tokens show: most of that loss is not about the person. Two pictures of a
person must give one embedding, though, which the warm-up teaches in minutes without the base model; and what the model
believes the clean picture to be must show the person meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facefact.autoencoder import decode
from facefact.encoder import Resampler, TransFace
from facefact.train.engine.loop import Batches
from facefact.train.losses.margin import angular_margin_loss
from facefact.train.material.cache import Cache
from facefact.types import UserError


def pair_batches(cache: Cache, *, people: int, seed: int, rank: int = 0) -> Batches:
    """Batches of two pictures' tokens each of `people` persons: (2 people, t, width), person i in rows i and people +
    i. rank: of the process; each draws pairs of its own. UserError: too few persons with two pictures."""
    groups = [rows for rows in cache.people.groups() if len(rows) > 1]
    if len(groups) < 2:
        raise UserError("recognition is learned from pairs: at least two people with two pictures each are needed")
    people = min(people, len(groups))

    def batches_from(step: int) -> Iterator[dict[str, Tensor]]:
        while True:
            rng = np.random.default_rng((seed, step, rank))
            chosen = rng.choice(len(groups), people, replace=False)
            pairs = np.stack([rng.choice(groups[i], 2, replace=False) for i in chosen])
            index = np.concatenate([pairs[:, 0], pairs[:, 1]])
            yield {"x": cache.tokens_of(index)}
            step += 1

    return batches_from


class ResamplerStage(nn.Module):
    """A linear head on all of the resampler's tokens, for the warm-up alone; what it cannot read off them linearly, the
    adapter's layers would not find either."""

    def __init__(self, resampler: Resampler, *, embedding: int = 96) -> None:
        super().__init__()
        self.resampler = resampler
        self.head = nn.Linear(resampler.config.queries * resampler.config.output_width, embedding)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch: those of `pair_batches`."""
        return {"loss": angular_margin_loss(self.head(self.resampler(batch["x"]).flatten(1)))}


class ShownIdentity(nn.Module):
    """Whom believed latents show: decoded, aligned where the picture's own face lies, and read by the face encoder.

    Through the pixels, because only there a recogniser is not satisfied with what nobody would see: against a network
    that reads the latents themselves the adapter learned what an independent judge did not find in the picture (over
    64 unseen people its cosine correlates with the judge's by 0.05, the encoder's reading of the pixels by 0.86).
    """

    def __init__(self, vae: Any, encoder: TransFace) -> None:
        super().__init__()
        self.vae: Any = vae.requires_grad_(False).eval()
        self.encoder = encoder.requires_grad_(False).eval()

    def forward(self, latents: Tensor, place: Tensor, shown: Tensor) -> Tensor:
        """latents (b, c, h, w) scaled for the U-Net, place (b, 2, 3), shown (b, n, n) bool: see `Cache.gather`. ->
        (b, d) unit embeddings."""
        pixels = decode(self.vae, latents).clamp(-1, 1)
        heads = torch.where(shown[:, None], aligned(pixels, place, shown.shape[-1]), -1.0)
        return F.normalize(self.encoder.embed(heads).float(), dim=-1)


def aligned(pixels: Tensor, place: Tensor, size: int) -> Tensor:
    """(b, c, h, w) pictures -> (b, c, size, size) crops, bilinear as `faces.align.warp`, with gradients; the edge
    goes on beyond the picture. place: (b, 2, 3), crop pixels -> picture pixels, centres at integers."""
    at = torch.arange(size, device=pixels.device, dtype=place.dtype)
    y, x = torch.meshgrid(at, at, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ place.transpose(1, 2)[:, None]  # (b, size, size, 2)
    extent = torch.tensor(pixels.shape[:1:-1], device=pixels.device, dtype=place.dtype)
    grid = (2 * points + 1) / extent - 1
    return F.grid_sample(pixels, grid.to(pixels.dtype), padding_mode="border", align_corners=False)


@torch.no_grad()
def person_centres(encoder: TransFace, cache: Cache, *, batch: int = 256) -> Tensor:
    """(people, d): each person's mean unit embedding over all pictures, again of length 1; from the cached tokens."""
    device = next(encoder.parameters()).device
    parts = [
        F.normalize(encoder.embed_tokens(cache.tokens_of(rows).to(device)).float(), dim=-1)
        for rows in np.array_split(np.arange(len(cache)), -(-len(cache) // batch))
    ]
    embeddings = torch.cat(parts)
    sums = torch.zeros(int(cache.persons.max()) + 1, embeddings.shape[1], device=device)
    sums.index_add_(0, torch.from_numpy(cache.persons).to(device), embeddings)
    return F.normalize(sums, dim=-1)

"""The held-out people whom a validation shows, and the face encoder's reading of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facefact.face_adapter import FaceAdapter
from facefact.metrics.views import to_pixels
from facefact.train.material.samples import Sample

Similarity = Callable[[np.ndarray], np.ndarray]  # (n, 112, 112, 3) uint8 aligned heads -> (n, d) unit embeddings


@dataclass(frozen=True)
class Reference:
    """A held-out person. picture: (r, r, 3) uint8, for the sheet. heads: (n, 112, 112, 3) uint8, aligned and masked;
    tokens: (n, t, width), the encoder's for them: the condition, known by one of the two or by both."""

    picture: np.ndarray
    heads: np.ndarray | None = None
    tokens: Tensor | None = None

    @classmethod
    def of(cls, *samples: Sample) -> Reference:
        """From pictures of one person; the first one is shown."""
        return cls(samples[0].image, np.stack([one.head for one in samples]))

    def encoder_tokens(self, adapter: FaceAdapter) -> Tensor:
        """(n, t, width): the adapter's face encoder's. ValueError: neither heads nor tokens are known."""
        if self.tokens is not None:
            return self.tokens
        if self.heads is None:
            raise ValueError("a reference needs the person's aligned heads, or the encoder's tokens for them")
        return adapter.encoder(head_pixels(adapter, self.heads))

    def embedding(self, adapter: FaceAdapter, similarity: Similarity | None) -> np.ndarray:
        """(d,): the person's mean, of length 1. similarity: None for the adapter's own encoder. ValueError: another one
        needs the heads."""
        if similarity is not None and self.heads is None:
            raise ValueError("another measure of similarity needs the aligned heads of the people")
        if similarity is not None and self.heads is not None:
            mean = similarity(self.heads).mean(0)
        else:
            mean = embeddings_of(adapter, self.encoder_tokens(adapter)).mean(0)
        return mean / max(float(np.linalg.norm(mean)), 1e-12)


def head_pixels(adapter: FaceAdapter, heads: np.ndarray) -> Tensor:
    """(n, 112, 112, 3) uint8 -> (n, 3, 112, 112) in [-1, 1], where and as the adapter's encoder reads them."""
    weight = adapter.encoder.pos_embed
    return torch.stack([to_pixels(one) for one in heads]).to(weight.device, weight.dtype)


@torch.no_grad()
def encoder_embeddings(adapter: FaceAdapter, heads: np.ndarray) -> np.ndarray:
    """(n, 112, 112, 3) uint8 aligned heads -> (n, d) unit embeddings of the adapter's own face encoder."""
    return embeddings_of(adapter, adapter.encoder(head_pixels(adapter, heads)))


def embeddings_of(adapter: FaceAdapter, tokens: Tensor) -> np.ndarray:
    """(n, t, width) tokens of the face encoder -> (n, d) unit embeddings."""
    weight = adapter.encoder.pos_embed
    embedded = adapter.encoder.embed_tokens(tokens.to(weight.device, weight.dtype))
    return F.normalize(embedded.float(), dim=-1).cpu().numpy()

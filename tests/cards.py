"""Identity cards for tests, without a model."""

from __future__ import annotations

from typing import Any

import torch

from facefact.encoder.card import Card, Source
from facefact.types import FaceTokens, Pose


def a_card(seed: int = 0, *, pictures: int = 1, kind: str = "photo", **said: Any) -> Card:
    """A random person: 4 tokens of 8 numbers a picture, an embedding of 6."""
    generator = torch.Generator().manual_seed(seed)
    face = torch.randn(1, 4 * pictures, 8, generator=generator)
    null = torch.linspace(-1, 1, 32).reshape(1, 4, 8).repeat(1, pictures, 1)
    embedding = torch.randn(1, 6, generator=generator).repeat(pictures, 1)
    given = {"encoder": "ab" * 32, "adapter": "demo"} | said
    return Card(
        tokens=FaceTokens(face, null),
        embedding=torch.nn.functional.normalize(embedding, dim=-1),
        sources=tuple(Source(kind, 0.5 + 0.1 * i, Pose(3.0 * i, 0.0, -1.0)) for i in range(pictures)),
        **given,
    )

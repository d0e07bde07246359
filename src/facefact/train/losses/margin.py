"""Recognition as a loss: an angle to the right person that is smaller, by a margin, than to all others (CosFace,
Wang et al. 2018; ArcFace, Deng et al. 2019)."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Margin = Literal["cosface", "arcface"]


def with_margin(cosine: Tensor, right: Tensor, margin: float, kind: Margin = "cosface") -> Tensor:
    """(n, classes) cosines, made smaller where the class is the right one, (n,): cos - m, or cos(angle + m).

    An angle beyond pi - m would come out smaller again: from there ArcFace goes on as a straight line.
    """
    chosen = F.one_hot(right, cosine.shape[1])
    if kind == "cosface":
        return cosine - margin * chosen
    sine = (1 - cosine.square()).clamp_min(1e-12).sqrt()
    rotated = cosine * math.cos(margin) - sine * math.sin(margin)
    rotated = torch.where(cosine > -math.cos(margin), rotated, cosine - margin * math.sin(margin))
    return torch.where(chosen.bool(), rotated, cosine)


def weighted_cross_entropy(logits: Tensor, right: Tensor, weights: Tensor | None) -> Tensor:
    """The mean over (n, classes) logits; weights: (n,) of the samples, None for all alike."""
    if weights is None:
        return F.cross_entropy(logits, right)
    return (weights * F.cross_entropy(logits, right, reduction="none")).mean()


def angular_margin_loss(
    embeddings: Tensor,
    *,
    scale: float = 24.0,
    margin: float = 0.2,
    kind: Margin = "cosface",
    weights: Tensor | None = None,
) -> Tensor:
    """The margin loss over a batch of pairs: (2 n, d), person i in rows i and n + i; each picture must find its pair
    among the other 2 n - 1. Cosines in [-1, 1], `margin` taken off the right one's, times `scale`."""
    unit = F.normalize(embeddings.float(), dim=-1)
    n = len(unit) // 2
    cosine = unit @ unit.T
    partner = torch.arange(2 * n, device=unit.device).roll(n)
    cosine = with_margin(cosine, partner, margin, kind)
    cosine = cosine.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=unit.device), -torch.inf)
    return weighted_cross_entropy(scale * cosine, partner, weights)


def class_margin_loss(
    embeddings: Tensor,
    centres: Tensor,
    labels: Tensor,
    *,
    scale: float = 24.0,
    margin: float = 0.2,
    kind: Margin = "cosface",
    weights: Tensor | None = None,
) -> Tensor:
    """The margin loss over learned class centres: (n, d) embeddings, (classes, d) centres, (n,) labels."""
    cosine = F.normalize(embeddings.float(), dim=-1) @ F.normalize(centres.float(), dim=-1).T
    return weighted_cross_entropy(scale * with_margin(cosine, labels, margin, kind), labels, weights)

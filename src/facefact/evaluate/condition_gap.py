"""The gap between people (`train.adapter.condition_loss`) of a finished adapter, and how far its gates are open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from facefact.face_adapter import FaceAdapter
from facefact.train.adapter.condition_loss import HeldOut, condition_losses
from facefact.train.adapter.fact import FactStage
from facefact.train.adapter.leak_meter import TIMESTEPS
from facefact.train.material.frozen import Frozen
from facefact.train.settings import Loss

CLOSED = 0.01  # |tanh alpha| below which a gate counts as closed


class Samples(NamedTuple):
    """values, people: (n,) a number of each sample, and the person that it belongs to."""

    values: np.ndarray
    people: np.ndarray


def measure(
    adapter: FaceAdapter, frozen: Frozen, held_out: HeldOut, timesteps: Sequence[int] = TIMESTEPS, *, seed: int = 0
) -> dict[str, Samples]:
    """Figures by name, one number a person, as `condition_losses`; the adapter is attached meanwhile."""
    stage = FactStage(adapter, frozen.unet, frozen.scheduler, Loss())
    try:
        table = condition_losses(stage, held_out, timesteps, seed=seed)
    finally:
        adapter.detach()
    return {name: Samples(values, np.arange(len(values))) for name, values in table.items()}


def gates(adapter: FaceAdapter) -> dict[str, Any]:
    """How far the gates are open, |tanh alpha|: their mean, how many are closed of how many, and each by layer."""
    opened = lambda alpha: float(alpha.detach().tanh().abs())  # noqa: E731
    layers = {
        name: {"attn": opened(layer.alpha_attn), "dense": opened(layer.alpha_dense)}
        for name, layer in adapter.layers.items()
    }
    every = np.array([value for pair in layers.values() for value in pair.values()])
    return {
        "mean": round(float(every.mean()), 5),
        "closed": int((every < CLOSED).sum()),
        "of": len(every),
        "layers": {name: {gate: round(value, 5) for gate, value in pair.items()} for name, pair in layers.items()},
    }

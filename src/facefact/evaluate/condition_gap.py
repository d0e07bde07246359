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
FIGURES = 2  # version of what `measure` gives: what was remembered of another one is measured again


class Samples(NamedTuple):
    """values, people, runs: (n,) a number of each sample, the person that it belongs to, and the training (of several
    that differ in their seed alone)."""

    values: np.ndarray
    people: np.ndarray
    runs: np.ndarray


def measure(
    adapter: FaceAdapter, frozen: Frozen, held_out: HeldOut, timesteps: Sequence[int] = TIMESTEPS, *, seed: int = 0
) -> dict[str, Samples]:
    """Figures by name, one number a person, as `condition_losses`; the adapter is attached meanwhile."""
    stage = FactStage(adapter, frozen.unet, frozen.scheduler, Loss()).eval()
    try:
        table = condition_losses(stage, held_out, timesteps, seed=seed)
    finally:
        adapter.detach()
    return {name: of_people(values) for name, values in table.items()}


def of_people(values: np.ndarray) -> Samples:
    """(n,) values of one training, one of each person."""
    return Samples(values, np.arange(len(values)), np.zeros(len(values), int))


def gates(*adapters: FaceAdapter) -> dict[str, Any]:
    """How far the gates of adapters with the same layers are open, |tanh alpha|: their mean, how many are closed of how
    many, and the mean of each by layer."""

    def opened(name: str, gate: str) -> list[float]:
        alphas = [getattr(one.layers[name], f"alpha_{gate}") for one in adapters]
        return [float(alpha.detach().tanh().abs()) for alpha in alphas]

    found = {name: {gate: opened(name, gate) for gate in ("attn", "dense")} for name in adapters[0].layers.configs}
    every = np.array([value for pair in found.values() for values in pair.values() for value in values])
    layers = {name: {gate: float(np.mean(some)) for gate, some in pair.items()} for name, pair in found.items()}
    return {
        "mean": round(float(every.mean()), 5),
        "closed": int((every < CLOSED).sum()),
        "of": len(every),
        "layers": {name: {gate: round(value, 5) for gate, value in pair.items()} for name, pair in layers.items()},
    }

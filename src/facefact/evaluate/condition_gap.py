"""What an adapter makes of the face condition, measured in seconds without making a picture.

Held-out people, two pictures of each: one is noised, and the model is asked for its noise with four conditions: the
person's other picture, another person's picture, the null face, and none (the base model). An adapter that reads who
is meant has the lower loss inside the face with the own person's picture. All adapters meet the same noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from facefact.face_adapter import FaceAdapter
from facefact.train.adapter.face_tokens import face_tokens
from facefact.train.adapter.fact import FactStage
from facefact.train.adapter.leak_meter import PARTS, TIMESTEPS
from facefact.train.losses.fair import leak, output_leak
from facefact.train.losses.noise import with_noise
from facefact.train.material.cache import Cache
from facefact.train.material.frozen import Frozen
from facefact.train.settings import Loss
from facefact.types import UserError

CONDITIONS = ("own", "other", "null", "base")
CLOSED = 0.01  # |tanh alpha| below which a gate counts as closed
AT_ONCE = 16  # samples in one forward pass
FIGURES = 2  # version of what `measure` gives: what was remembered of another one is measured again
INSIDE = "inside."  # before a block's name: the layer's share of change inside the face


class Samples(NamedTuple):
    """values, people, runs: (n,) a number of each sample, the person that it belongs to, and the training (of several
    that differ in their seed alone)."""

    values: np.ndarray
    people: np.ndarray
    runs: np.ndarray


@dataclass(frozen=True)
class HeldOut:
    """One target a person. batch: as `conditions.batches` makes it, without tokens. own, other: (people, 1, t,
    width) encoder tokens of another picture of the person, and of the next person's."""

    batch: Mapping[str, Tensor]
    own: Tensor
    other: Tensor

    @classmethod
    def of(cls, cache: Cache, device: torch.device | str = "cpu") -> HeldOut:
        """From a cache with text. UserError: fewer than two people have two pictures."""
        pairs = np.array([rows[:2] for rows in cache.people.groups() if len(rows) > 1])
        if len(pairs) < 2:
            raise UserError("the gap between people needs at least two held-out people with two pictures each")
        target, own = pairs.T
        batch = {**cache.gather(target), **cache.text_of(target)}
        tokens = [cache.tokens_of(rows)[:, None].to(device) for rows in (own, np.roll(own, -1))]
        return cls({name: value.to(device) for name, value in batch.items()}, *tokens)

    def __len__(self) -> int:
        return len(self.own)


@torch.no_grad()
def measure(
    adapter: FaceAdapter, frozen: Frozen, held_out: HeldOut, timesteps: Sequence[int] = TIMESTEPS, *, seed: int = 0
) -> dict[str, Samples]:
    """Figures by name, one number a person (means over the timesteps); the adapter is attached meanwhile.

    own, other, null, base: squared error inside the face. gap: other - own. gain: base - own. leak_attention,
    leak_whole: share of change outside the face with the own condition, as in the leak meter. leak_output: the same of
    the model's answer, as output-FAIR. INSIDE + block: the layer's share of change inside the face.
    """
    latents = held_out.batch["latents"]
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed)).to(latents.device)
    stage = FactStage(adapter, frozen.unet, frozen.scheduler, Loss()).eval()
    try:
        found = [
            _part(stage, held_out, noise, slice(first, first + AT_ONCE), timestep)
            for timestep in timesteps
            for first in range(0, len(held_out), AT_ONCE)
        ]
    finally:
        adapter.detach()
    table = {
        name: torch.cat([one[name] for one in found]).view(len(timesteps), -1).mean(0).double().cpu().numpy()
        for name in found[0]
    }
    table |= {"gap": table["other"] - table["own"], "gain": table["base"] - table["own"]}
    return {name: of_people(values) for name, values in table.items()}


def of_people(values: np.ndarray) -> Samples:
    """(n,) values of one training, one of each person."""
    return Samples(values, np.arange(len(values)), np.zeros(len(values), int))


def _part(stage: FactStage, held_out: HeldOut, noise: Tensor, part: slice, timestep: int) -> dict[str, Tensor]:
    """The losses and leaks of some people at one timestep, (b,) each."""
    batch = {name: value[part] for name, value in held_out.batch.items()}
    at = torch.full((len(batch["latents"]),), int(timestep), device=noise.device)
    sample, target = with_noise(stage.scheduler, batch["latents"], noise[part], at)
    found: dict[str, Tensor] = {}
    answers: dict[str, Tensor] = {}
    for condition in CONDITIONS:
        tokens = held_out.other if condition == "other" else held_out.own
        dropped = torch.full((len(at),), condition == "null", device=noise.device)
        face = face_tokens(stage.adapter, tokens[part], dropped)
        kwargs = stage.adapter.condition(face, scale=0.0 if condition == "base" else 1.0, guidance=False)
        with stage.adapter.record() as increments:
            predicted = stage.predict(sample, at, batch, kwargs)
        found[condition] = error_inside(predicted, target, batch["face"])
        answers[condition] = predicted
        if condition == "own":
            leaks = {name: [leak(one, batch["face"], name) for one in increments] for name in PARTS}  # type: ignore[arg-type]
            found |= {f"leak_{name}": torch.stack(some).mean(0) for name, some in leaks.items()}
            found |= {INSIDE + one.block: leak(one, 1 - batch["face"]) for one in increments}
    return found | {"leak_output": output_leak(answers["own"], answers["base"], batch["face"])}


def error_inside(predicted: Tensor, target: Tensor, face: Tensor) -> Tensor:
    """(b,) mean squared error where the face is; NaN where there is none. (b, c, h, w) twice, face (b, h, w)."""
    error = (predicted - target).square().mean(1)
    return (error * face).sum((1, 2)) / face.sum((1, 2))


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

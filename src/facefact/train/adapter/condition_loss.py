"""What an adapter makes of the face condition, measured in seconds without making a picture.

Held-out people, two pictures of each: one is noised, and the model is asked for its noise with four conditions: the
person's other picture, another person's picture, the null face, and none (the base model). An adapter that reads who
is meant has the lower loss inside the face with the own person's picture. All adapters meet the same noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from facefact.train.adapter.face_tokens import face_tokens
from facefact.train.adapter.fact import FactStage
from facefact.train.adapter.leak_meter import PARTS, TIMESTEPS
from facefact.train.engine.aside import evaluating
from facefact.train.losses.fair import leak, output_leak
from facefact.train.losses.noise import with_noise
from facefact.train.material.cache import Cache
from facefact.types import UserError

CONDITIONS = ("own", "other", "null", "base")
INSIDE = "inside."  # before a block's name: the layer's share of change inside the face
AT_ONCE = 16  # samples in one forward pass
EncodeText = Callable[[Sequence[str]], Mapping[str, Tensor]]  # n captions -> text (n, length, width), pooled (n, width)


@dataclass(frozen=True)
class HeldOut:
    """One target a person. batch: as `conditions.batches` makes it, without tokens. own, other: (people, 1, t,
    width) encoder tokens of another picture of the person, and of the next person's."""

    batch: Mapping[str, Tensor]
    own: Tensor
    other: Tensor

    @classmethod
    def of(
        cls,
        cache: Cache,
        device: torch.device | str = "cpu",
        *,
        people: int | None = None,
        encode: EncodeText | None = None,
    ) -> HeldOut:
        """Of the first `people` who have two pictures and one of the commonest shape; None for all of them. encode:
        the text model, for a cache without text. UserError: fewer than two people have two pictures."""
        pairs = target_and_own(cache)[:people]
        if len(pairs) < 2:
            raise UserError("the gap between people needs at least two held-out people with two pictures each")
        target, own = pairs.T
        words = cache.text_of(target) if encode is None else encode(whole_captions(cache, target))
        batch = {**cache.gather(target), **words}
        tokens = [cache.tokens_of(rows)[:, None].to(device) for rows in (own, np.roll(own, -1))]
        return cls({name: value.to(device) for name, value in batch.items()}, *tokens)

    def __len__(self) -> int:
        return len(self.own)


def target_and_own(cache: Cache) -> np.ndarray:
    """(k, 2) rows of each person: a picture of the commonest shape, and another one of the person."""
    fits = np.isin(np.arange(len(cache)), cache.alike(np.arange(len(cache))))
    pairs = []
    for rows in cache.people.groups():
        target = rows[fits[rows]][:1]
        own = rows[rows != target[0]][:1] if len(target) else target
        if len(own):
            pairs.append([target[0], own[0]])
    return np.array(pairs, int).reshape(-1, 2)


def whole_captions(cache: Cache, rows: np.ndarray) -> list[str]:
    return [", ".join(phrase.text for phrase in cache.phrases(int(row))) for row in rows]


@torch.no_grad()
def condition_losses(
    stage: FactStage,
    held_out: HeldOut,
    timesteps: Sequence[int] = TIMESTEPS,
    *,
    seed: int = 0,
    at_once: int = AT_ONCE,
) -> dict[str, np.ndarray]:
    """Figures by name, (people,) each (means over the timesteps). stage: its adapter is attached; modes are left as
    they were.

    own, other, null, base: squared error inside the face. gap: other - own. gain: base - own. leak_attention,
    leak_whole: share of change outside the face with the own condition, as in the leak meter. leak_output: the same of
    the model's answer, as output-FAIR. INSIDE + block: the layer's share of change inside the face.
    """
    latents = held_out.batch["latents"]
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed)).to(latents.device)
    with evaluating(stage):
        found = [
            _part(stage, held_out, noise, slice(first, first + at_once), timestep)
            for timestep in timesteps
            for first in range(0, len(held_out), at_once)
        ]
    table = {
        name: torch.cat([one[name] for one in found]).view(len(timesteps), -1).mean(0).double().cpu().numpy()
        for name in found[0]
    }
    return table | {"gap": table["other"] - table["own"], "gain": table["base"] - table["own"]}


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
        if condition == "own" and increments:  # (a peer has none)
            leaks = {name: [leak(one, batch["face"], name) for one in increments] for name in PARTS}  # type: ignore[arg-type]
            found |= {f"leak_{name}": torch.stack(some).mean(0) for name, some in leaks.items()}
            found |= {INSIDE + one.block: leak(one, 1 - batch["face"]) for one in increments}
    return found | {"leak_output": output_leak(answers["own"], answers["base"], batch["face"])}


def error_inside(predicted: Tensor, target: Tensor, face: Tensor) -> Tensor:
    """(b,) mean squared error where the face is; NaN where there is none. (b, c, h, w) twice, face (b, h, w)."""
    error = (predicted - target).square().mean(1)
    return (error * face).sum((1, 2)) / face.sum((1, 2))

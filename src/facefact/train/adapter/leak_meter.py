"""The leak meter: how much each layer of the adapter changes outside the face, by timestep.

It is FAIR (`facefact.train.losses.fair`), not as one number to be minimised but as a table to be read: where in the
U-Net, and at which noise, does the adapter touch what is none of its business?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facefact import checkpoint
from facefact.adapter import Increment
from facefact.face_adapter import FaceAdapter
from facefact.metrics.scores import figure
from facefact.train.adapter.face_tokens import face_tokens
from facefact.train.engine.aside import evaluating
from facefact.train.losses.fair import has_outside, leak
from facefact.types import UserError

PARTS = ("attention", "whole")  # of a layer's increment: see `Increment`
WHERE = ("outside", "inside")  # the face
TIMESTEPS = (100, 300, 500, 700, 900)


@dataclass(frozen=True)
class LeakTable:
    """layers: names of the blocks, in the order in which the picture passes them. places: of each, how many latent
    tokens. aspect: width / height of the picture. people: (samples,) int, whose each picture is. shares: by where
    ("outside", "inside" the face) and part of the increment, (layers, timesteps, samples) share of change, |increment|
    / |what entered the layer| there; NaN where a picture has no such place."""

    layers: tuple[str, ...]
    places: tuple[int, ...]
    aspect: float
    timesteps: tuple[int, ...]
    people: np.ndarray
    shares: Mapping[tuple[str, str], np.ndarray]

    @property
    def samples(self) -> int:
        return len(self.people)

    @property
    def outside(self) -> dict[str, np.ndarray]:
        """By part, (layers, timesteps): the mean over the pictures; 0 where none has an outside."""
        return {part: mean_of(self.shares["outside", part]) for part in PARTS}

    @property
    def inside(self) -> dict[str, np.ndarray]:
        """As `outside`."""
        return {part: mean_of(self.shares["inside", part]) for part in PARTS}

    def figures(self) -> dict[str, float]:
        """Means over the table, by name; with several people also the ends of their 95 % interval over people
        (`_low`, `_high`)."""
        found = {}
        for (where, part), shares in self.shares.items():
            name, measured = f"leak_{where}_{part}", self.over_people(shares.mean((0, 1)))
            found[name] = measured["value"]
            if "low" in measured:
                found |= {f"{name}_{end}": measured[end] for end in ("low", "high")}
        return found

    def by_layer(self) -> list[dict[str, Any]]:
        """Of each layer with its feed-forward, over the timesteps: block, name, and of outside and inside the value
        with the ends of its interval over people."""
        return [
            {"block": block, "name": name}
            | {where: self.over_people(self.shares[where, "whole"][i].mean(0)) for where in WHERE}
            for i, (block, name) in enumerate(zip(self.layers, self.names(), strict=True))
        ]

    def over_people(self, samples: np.ndarray) -> dict[str, float]:
        """(samples,) -> value, their mean; low and high, the ends of its 95 % interval, where there are several
        people."""
        counts = ~np.isnan(samples)
        if not counts.any():
            return {"value": 0.0}
        measured = figure(samples, self.people)
        ends = {"low": measured.low, "high": measured.high} if len(np.unique(self.people[counts])) > 1 else {}
        return {name: round(value, 6) for name, value in ({"value": measured.value} | ends).items()}

    def as_json(self) -> dict[str, Any]:
        tables = {
            where: {part: np.round(table, 6).tolist() for part, table in found.items()}
            for where, found in (("outside", self.outside), ("inside", self.inside))
        }
        about = {"timesteps": list(self.timesteps), "samples": self.samples, "people": len(np.unique(self.people))}
        return {"layers": self.names(), **about, **tables, "by_layer": self.by_layer()}

    def names(self) -> list[str]:
        """Short names with the layer's resolution: "down 0.1 · 16x16"."""
        return [
            f"{name} · {grid}"
            for name, grid in zip(short_names(self.layers), map(self._grid, self.places), strict=True)
        ]

    def _grid(self, places: int) -> str:
        rows = max(1, round((places / self.aspect) ** 0.5))
        return f"{places // rows}x{rows}"


def short_names(layers: Sequence[str]) -> list[str]:
    """up_blocks.1.attentions.0.transformer_blocks.0 -> "up 1.0"; with the last number where one has several."""
    several = any(not name.endswith("transformer_blocks.0") for name in layers)
    found = []
    for name in layers:
        parts = name.split(".")
        numbers = ".".join(part for part in parts if part.isdigit())
        found.append(f"{parts[0].split('_')[0]} {numbers if several else numbers.rpartition('.')[0]}".strip())
    return found


@torch.no_grad()
def measure_leak(
    unet: nn.Module,
    adapter: FaceAdapter,
    scheduler: Any,
    batch: Mapping[str, Any],
    timesteps: Sequence[int] = TIMESTEPS,
    *,
    seed: int = 0,
    scale: float = 1.0,
) -> LeakTable:
    """The table of one adapter, which is attached to the U-Net, on fixed samples with fixed noise.

    batch: as `conditions.batches` makes it; without `person` each sample is its own. scheduler: that of the training
    (its `add_noise`; what the U-Net predicts does not matter). The noise depends on `seed` and on nothing else.
    UserError: the adapter is not attached.
    """
    latents, face = batch["latents"], batch["face"]
    weight = next(unet.parameters())
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed)).to(weight.device)
    columns = []
    with evaluating(unet, adapter):
        call = _arguments(adapter, batch, scale, weight)
        for timestep in timesteps:
            at = torch.full((len(latents),), int(timestep), device=weight.device)
            sample = scheduler.add_noise(latents.to(weight.device).float(), noise, at)
            with adapter.record() as increments:
                unet(sample.to(weight.dtype), at, **call)
            columns.append(_column(increments, face.to(weight.device).float()))
    first, people = columns[0], batch.get("person")
    return LeakTable(
        layers=first.layers,
        places=first.places,
        aspect=face.shape[-1] / face.shape[-2],
        timesteps=tuple(int(one) for one in timesteps),
        people=np.arange(len(latents)) if people is None else people.cpu().numpy(),
        shares={key: np.stack([column.shares[key] for column in columns], axis=1) for key in first.shares},
    )


def mean_of(shares: np.ndarray) -> np.ndarray:
    """(..., samples) -> (...): without those that are NaN; 0 where all are."""
    counts = ~np.isnan(shares)
    return np.where(counts, shares, 0).sum(-1) / np.maximum(1, counts.sum(-1))


@dataclass(frozen=True)
class _Column:
    """One timestep. shares: by where and part, (layers, samples) share of change."""

    layers: tuple[str, ...]
    places: tuple[int, ...]
    shares: dict[tuple[str, str], np.ndarray]


def _column(increments: Sequence[Increment], face: Tensor) -> _Column:
    """face: (b, h, w) in [0, 1], at the latents' resolution."""
    if not increments:
        raise UserError("no layer of the adapter was active: the leak meter needs a scale above 0")
    shares = {
        (where, part): np.stack([_shares(one, mask, part) for one in increments])
        for where, mask in zip(WHERE, (face, 1 - face), strict=True)
        for part in PARTS
    }
    places = tuple(one.entering.shape[1] for one in increments)
    return _Column(tuple(one.block for one in increments), places, shares)


def _shares(increment: Increment, mask: Tensor, part: Any) -> np.ndarray:
    """(b,) outside of the mask, (b, h, w); NaN for the samples that have no place there."""
    found = leak(increment, mask, part)
    return torch.where(has_outside(mask), found, torch.nan).double().cpu().numpy()


def _arguments(adapter: FaceAdapter, batch: Mapping[str, Any], scale: float, weight: Tensor) -> dict[str, Any]:
    """Of the U-Net's call: text, face condition, and what SDXL reads besides."""
    tokens = face_tokens(adapter, batch["tokens"], batch.get("face_dropped"))
    put = lambda one: one.to(weight.device, weight.dtype)  # noqa: E731
    call: dict[str, Any] = {
        "encoder_hidden_states": put(batch["text"]),
        "cross_attention_kwargs": adapter.condition(tokens, scale=scale, guidance=False),
    }
    if batch.get("pooled") is not None:
        call["added_cond_kwargs"] = {"text_embeds": put(batch["pooled"]), "time_ids": put(batch["time_ids"])}
    return call


def draw_leak(table: LeakTable, path: Path) -> None:
    """A heat map as PNG: one row a layer, one column a timestep; outside the face beside inside, for both parts of the
    increment, on one scale of colours. Needs matplotlib."""
    from matplotlib.figure import Figure

    panels = [
        (f"{where} the face\n{label}", 100 * tables[part])
        for part, label in (("attention", "attention alone"), ("whole", "whole layer"))
        for where, tables in (("outside", table.outside), ("inside", table.inside))
    ]
    rows, columns = panels[0][1].shape
    top = max(1e-6, max(float(values.max()) for _, values in panels))
    figure = Figure(figsize=(1.9 + 4 * (0.25 + 0.42 * columns), 1.9 + 0.3 * rows), dpi=110, layout="constrained")
    axes = figure.subplots(1, 4, sharey=True)
    for axis, (title, values) in zip(axes, panels, strict=True):
        _heat(axis, values, top)
        axis.set_title(title, fontsize=9)
        axis.set_xticks(range(columns), [str(one) for one in table.timesteps], fontsize=8)
        axis.set_xlabel("timestep", fontsize=8)
    axes[0].set_yticks(range(rows), table.names(), fontsize=8)
    figure.suptitle(
        "How much each layer of the adapter changes: |increment| in % of what enters the layer\n"
        f"(mean of {table.samples} held-out pictures of {len(np.unique(table.people))} people; outside the face should "
        "be small)",
        fontsize=10,
    )
    with checkpoint.replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _heat(axis: Any, values: np.ndarray, top: float) -> None:
    """Colours and printed numbers of one panel."""
    axis.imshow(values, cmap="YlOrRd", vmin=0, vmax=top, aspect="auto")
    axis.tick_params(length=0)
    for (row, column), value in np.ndenumerate(values):
        digits = 1 if top >= 1 else 2
        colour = "white" if value > 0.6 * top else "black"
        axis.text(column, row, f"{value:.{digits}f}", ha="center", va="center", fontsize=7, color=colour)

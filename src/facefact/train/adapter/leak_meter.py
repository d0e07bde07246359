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
from facefact.train.adapter.face_tokens import face_tokens
from facefact.train.engine.aside import evaluating
from facefact.train.losses.fair import leak
from facefact.types import UserError

PARTS = ("attention", "whole")  # of a layer's increment: see `Increment`
TIMESTEPS = (100, 300, 500, 700, 900)


@dataclass(frozen=True)
class LeakTable:
    """layers: names of the blocks, in the order in which the picture passes them. places: of each, how many latent
    tokens. aspect: width / height of the picture. outside, inside: by part of the increment, (layers, timesteps) share
    of change, |increment| / |what entered the layer| outside and inside the face, mean over `samples` pictures."""

    layers: tuple[str, ...]
    places: tuple[int, ...]
    aspect: float
    timesteps: tuple[int, ...]
    samples: int
    outside: dict[str, np.ndarray]
    inside: dict[str, np.ndarray]

    def figures(self) -> dict[str, float]:
        """Means over the table, by name."""
        return {
            f"leak_{where}_{part}": round(float(table.mean()), 6)
            for where, tables in (("outside", self.outside), ("inside", self.inside))
            for part, table in tables.items()
        }

    def as_json(self) -> dict[str, Any]:
        tables = {
            where: {part: np.round(table, 6).tolist() for part, table in found.items()}
            for where, found in (("outside", self.outside), ("inside", self.inside))
        }
        return {"layers": self.names(), "timesteps": list(self.timesteps), "samples": self.samples, **tables}

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

    batch: as `conditions.batches` makes it. scheduler: that of the training (its `add_noise`; what the U-Net predicts
    does not matter). The noise depends on `seed` and on nothing else. UserError: the adapter is not attached.
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
    first = columns[0]
    tables = {
        key: np.array([[column.shares[layer][key] for column in columns] for layer in range(len(first.layers))])
        for key in first.shares[0]
    }
    return LeakTable(
        layers=first.layers,
        places=first.places,
        aspect=face.shape[-1] / face.shape[-2],
        timesteps=tuple(int(one) for one in timesteps),
        samples=len(latents),
        outside={part: tables["outside", part] for part in PARTS},
        inside={part: tables["inside", part] for part in PARTS},
    )


@dataclass(frozen=True)
class _Column:
    """One timestep. shares: of each layer, (where, part) -> mean share of change over the samples."""

    layers: tuple[str, ...]
    places: tuple[int, ...]
    shares: list[dict[tuple[str, str], float]]


def _column(increments: Sequence[Increment], face: Tensor) -> _Column:
    """face: (b, h, w) in [0, 1], at the latents' resolution."""
    if not increments:
        raise UserError("no layer of the adapter was active: the leak meter needs a scale above 0")
    shares = [
        {
            (where, part): _mean_share(one, mask, part)
            for where, mask in (("outside", face), ("inside", 1 - face))
            for part in PARTS
        }
        for one in increments
    ]
    places = tuple(one.entering.shape[1] for one in increments)
    return _Column(tuple(one.block for one in increments), places, shares)


def _mean_share(increment: Increment, mask: Tensor, part: Any) -> float:
    """Mean over the samples that have places outside of the mask, (b, h, w); 0 where none has."""
    somewhere = (1 - mask).sum((1, 2)) > 0
    return float(leak(increment, mask, part)[somewhere].mean()) if somewhere.any() else 0.0


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
        f"(mean of {table.samples} held-out pictures; outside the face should be small)",
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

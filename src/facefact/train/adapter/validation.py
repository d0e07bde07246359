"""Validation while an adapter is trained: the same held-out people, prompts and noise every time.

    paint -> judge -> measure the leak -> compare the losses of the conditions -> draw

Each one leaves RUN/validation/step-N/ with the contact sheet, the leak meter's heat map and the figures, and leaves the
training as it was: random generators, modes of the modules, weights, scheduler.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from facefact.train.adapter.condition_loss import AT_ONCE, CONDITIONS, HeldOut, condition_losses
from facefact.train.adapter.fact import FactStage
from facefact.train.adapter.judged import Judge, Judged
from facefact.train.adapter.leak_meter import TIMESTEPS, LeakTable, draw_leak, measure_leak
from facefact.train.adapter.painted import Painted, Painter, untouched
from facefact.train.adapter.references import Reference
from facefact.train.engine.aside import aside, exchanged
from facefact.train.report.sheet import validation_sheet


@dataclass(frozen=True)
class LeakSamples:
    """What the leak meter looks at. batch: of held-out pictures, as `measure_leak` reads it. scheduler: the training's,
    for its noise."""

    batch: Mapping[str, Any]
    scheduler: Any
    timesteps: Sequence[int] = TIMESTEPS


@dataclass(frozen=True)
class LossSamples:
    """Whose losses are compared. stage: the training's. at_once: people in one forward pass."""

    stage: FactStage
    held_out: HeldOut
    timesteps: Sequence[int] = TIMESTEPS
    at_once: int = AT_ONCE


class Validator:
    """Fixed people and prompts, looked at again and again. leak, losses: None to leave that measurement out."""

    def __init__(
        self,
        painter: Painter,
        people: Sequence[Reference],
        judge: Judge,
        leak: LeakSamples | None = None,
        losses: LossSamples | None = None,
    ) -> None:
        self.painter, self.people, self.judge, self.leak, self.losses = painter, list(people), judge, leak, losses
        self.adapter = painter.adapter
        with aside(self.adapter):
            self.tokens = [one.encoder_tokens(self.adapter) for one in people]  # (n, t, width) each

    def run(self, step: int, folder: Path, *, weights: Mapping[str, Tensor] | None = None) -> dict[str, float]:
        """Write folder/validation/step-N, whole or not at all; returns the figures (those that could be measured).

        weights: averaged ones by the names of the adapter's parameters, used instead of those being trained.
        """
        began = time.monotonic()
        with untouched(self.painter.pipe, self.adapter), exchanged(self.adapter, weights or {}):
            painted = self.painter.paint(self.tokens)
            drawn = time.monotonic()
            judged = self.judge.judge(painted)
            table = self.measure_leak()
            compared = self.compare_losses()
        figures = judged.figures | (table.figures() if table is not None else {}) | compared
        figures |= {"pictures_seconds": round(drawn - began, 3), "seconds": round(time.monotonic() - began, 3)}
        with replacing_folder(folder / "validation" / f"step-{step}") as temporary:
            self.draw(step, painted, judged, table, temporary)
            about = {"prompts": self.painter.prompts, "leak": table.as_json() if table is not None else None}
            (temporary / "figures.json").write_text(
                json.dumps({"step": step, **figures, **about}, indent=2, allow_nan=False) + "\n", encoding="utf-8"
            )
        return figures

    def measure_leak(self) -> LeakTable | None:
        """None where it is left out, and where the adapter does nothing."""
        leak, settings = self.leak, self.painter.settings
        if leak is None or not settings.scale:
            return None
        return measure_leak(
            self.painter.pipe.unet,
            self.adapter,
            leak.scheduler,
            leak.batch,
            leak.timesteps,
            seed=settings.seed,
            scale=settings.scale,
        )

    def compare_losses(self) -> dict[str, float]:
        """The loss inside the face with each condition, and how much more it is without the own face; means over the
        people. {}: left out."""
        if self.losses is None:
            return {}
        of = self.losses
        table = condition_losses(
            of.stage, of.held_out, of.timesteps, seed=self.painter.settings.seed, at_once=of.at_once
        )
        return condition_figures(table)

    def draw(self, step: int, painted: Painted, judged: Judged, table: LeakTable | None, folder: Path) -> None:
        """The contact sheet, and the heat map where there is a table."""
        title = f"step {step}: {len(self.people)} held-out people, scale {self.painter.settings.scale:g}"
        references = [one.picture for one in self.people]
        sheet = validation_sheet(title, self.painter.prompts, painted.base, references, painted.people, judged.captions)
        sheet.save(folder / "sheet.png")
        if table is not None:
            draw_leak(table, folder / "leak.png")


# Parts


def condition_figures(table: Mapping[str, np.ndarray]) -> dict[str, float]:
    """What `condition_losses` found of (people,) -> means. A gap above 0 says that the adapter does better with the own
    face than with another one's, or with none: that it learns who it is."""
    seen = np.isfinite(table["own"])  # (a face smaller than a latent cell has no loss)
    if not seen.any():
        return {}
    means = {name: float(values[seen].mean()) for name, values in table.items()}
    found = {f"loss_{name}": means[name] for name in CONDITIONS}
    found |= {"gap_other": means["other"] - means["own"], "gap_null": means["null"] - means["own"]}
    better = float((table["other"] > table["own"])[seen].mean())
    return {name: round(value, 6) for name, value in (found | {"own_is_better": better}).items()} | {
        "loss_people": float(seen.sum())
    }


def of_adapter(values: Mapping[str, Tensor], *, prefix: str = "adapter.") -> dict[str, Tensor]:
    """The averaged weights of a whole stage -> those of its adapter, as `Validator.run` wants them."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it takes its place, on failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes it private
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

"""What a training says about itself: `metrics.jsonl`, one object per step, and whether its loss is still sane."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from facefact.checkpoint import replacing
from facefact.types import UserError

Record = dict[str, Any]


class Metrics:
    """The file `metrics.jsonl` of a folder. A full disk loses no record as long as the process lives: what could not
    be written is written with the next ones."""

    def __init__(self, folder: Path):
        self.path = folder / "metrics.jsonl"
        self.pending = b""

    def records(self) -> list[Record]:
        """All whole lines."""
        lines = self.path.read_bytes().splitlines() if self.path.is_file() else []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:  # the process died while it wrote
                continue
        return found

    def forget_after(self, step: int) -> None:
        """Drop the records of later steps: they are about to be made again."""
        kept = b"".join(_line(record) for record in self.records() if record["step"] <= step)
        if self.path.is_file() and kept != self.path.read_bytes():  # (no file is made on a disk that may be full)
            with replacing(self.path) as temporary:
                temporary.write_bytes(kept)

    def write(self, records: Iterable[Record]) -> None:
        """Append. OSError: the disk is full; the file ends with a whole line nevertheless."""
        self.pending += b"".join(map(_line, records))
        with self.path.open("ab", buffering=0) as out:
            end = out.tell()
            try:
                written = out.write(self.pending)
                if written < len(self.pending):  # a disk that fills up takes a part first, and complains later
                    out.write(self.pending[written:])
            except OSError:
                out.truncate(end)
                raise
        self.pending = b""


def _line(record: Record) -> bytes:
    """Nine digits: a float32 and its text are the same number."""
    short = {
        k: (float(f"{v:.9g}") if math.isfinite(v) else None) if isinstance(v, float) else v for k, v in record.items()
    }
    return (json.dumps(short) + "\n").encode()


class Exploded(UserError):
    """The loss is no number any more, or far above what it was."""


class Guard:
    """Watches the loss: not finite, or for `patience` steps in a row above `factor` times the median of the last 100.

    factor None: only whether it is finite. scaled: fp16's loss scaling finds its scale by gradients that overflow, so
    a gradient that is not finite is no news.
    """

    def __init__(self, factor: float | None, *, scaled: bool = False, patience: int = 5, least: int = 20):
        self.factor, self.scaled, self.patience, self.least = factor, scaled, patience, least
        self.recent: deque[float] = deque(maxlen=100)
        self.high = 0

    @property
    def calm(self) -> bool:
        """Nothing suspicious: the state may be saved."""
        return self.high == 0

    def see(self, record: Mapping[str, Any]) -> str | None:
        """What is wrong at this step; None: go on."""
        loss = record["loss"]
        if loss is None:  # (a record read back)
            return None
        for name in ("loss",) if self.scaled else ("loss", "norm"):
            value = record.get(name, 0.0)
            if value is not None and not math.isfinite(value):
                return f"the {'loss' if name == 'loss' else 'norm of the gradient'} is {value}"
        usual = median(self.recent) if len(self.recent) >= self.least else math.inf
        if self.factor is not None and usual > 0 and loss > self.factor * usual:
            self.high += 1
            if self.high >= self.patience:
                return (
                    f"for {self.high} steps the loss was above {self.factor:g} times its median (now {loss:.4g}, the "
                    f"median {usual:.4g})"
                )
            return None
        self.high = 0
        self.recent.append(loss)
        return None

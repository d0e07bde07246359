"""What is in the folder of a run, for its report and its model card: read as far as it is there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from facefact.config import from_tree
from facefact.page import without_paths as without_paths
from facefact.train.settings import AdapterTraining
from facefact.types import UserError

WAITS = ("data_wait", "wait")  # how metrics call the seconds that a step waited for its batch


@dataclass(frozen=True)
class ValidationRecord:
    """One validation. figures: the numbers of its figures.json. leak: what the leak meter wrote there, {} where it was
    left out."""

    step: int
    folder: Path
    figures: Mapping[str, float]
    leak: Mapping[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """config: the tree of config.yaml, {} without one. settings: the same, checked; None when it is no adapter's.
    metrics: one object a step, in their order. checkpoints: step and bytes."""

    folder: Path
    config_text: str
    config: Mapping[str, Any]
    settings: AdapterTraining | None
    environment: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    validations: Sequence[ValidationRecord]
    checkpoints: Sequence[tuple[int, int]]

    @classmethod
    def read(cls, folder: Path) -> RunFolder:
        """Whatever is missing or broken is left out: a run that has just begun is a run."""
        text = read_text(folder / "config.yaml")
        config = parsed(text)
        try:
            settings = from_tree(AdapterTraining, config)
        except (UserError, TypeError, ValueError):
            settings = None
        return cls(
            folder=folder,
            config_text=text,
            config=config,
            settings=settings,
            environment=read_json(folder / "environment.json"),
            metrics=read_metrics(folder / "metrics.jsonl"),
            validations=read_validations(folder / "validation"),
            checkpoints=read_checkpoints(folder / "checkpoints"),
        )

    @property
    def steps(self) -> int:
        """Steps done."""
        return int(self.metrics[-1]["step"]) if self.metrics else 0

    @property
    def planned(self) -> int | None:
        return self.setting("schedule.steps")

    @property
    def samples_per_step(self) -> int | None:
        batch = self.setting("schedule.batch")
        if batch is None:
            return None
        return batch * (self.setting("schedule.accumulate") or 1) * int(self.environment.get("processes") or 1)

    def setting(self, name: str) -> Any:
        """By its dotted name; None when it is not there."""
        value: Any = self.config
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def column(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values of one number in the metrics, where it is one."""
        pairs = [(one["step"], one[name]) for one in self.metrics if is_number(one.get(name))]
        return np.array([step for step, _ in pairs], float), np.array([value for _, value in pairs], float)

    def wait(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps, and the share of each that waited for data."""
        name = next((one for one in WAITS if any(one in record for record in self.metrics)), WAITS[0])
        rows = [
            (one["step"], one[name] / max(one["seconds"], 1e-9))
            for one in self.metrics
            if is_number(one.get(name)) and is_number(one.get("seconds"))
        ]
        return np.array([step for step, _ in rows], float), np.array([share for _, share in rows], float)

    def seconds(self) -> float:
        """Of training, by its steps (those between two records took as long as the later one)."""
        steps, seconds = self.column("seconds")
        return float((np.diff(steps, prepend=0.0) * seconds).sum())

    def waited(self) -> float | None:
        """Share of the training that waited for data."""
        steps, shares = self.wait()
        of_step, seconds = self.column("seconds")
        if not len(steps) or len(steps) != len(of_step) or not seconds.sum():
            return None
        return float((shares * seconds).sum() / seconds.sum())

    def no_other_picture(self) -> float | None:
        """Share of the samples, over all steps, that were to be conditioned on another picture of their person where
        there is none."""
        _, shares = self.column("no_other_picture")
        return float(shares.mean()) if len(shares) else None

    def samples_per_second(self) -> float | None:
        """By the median step."""
        _, seconds = self.column("seconds")
        per_step = self.samples_per_step
        return per_step / float(np.median(seconds)) if len(seconds) and per_step and np.median(seconds) else None


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def parsed(text: str) -> Mapping[str, Any]:
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return tree if isinstance(tree, dict) else {}


def read_json(path: Path) -> Mapping[str, Any]:
    try:
        tree = json.loads(read_text(path))
    except ValueError:
        return {}
    return tree if isinstance(tree, dict) else {}


def read_metrics(path: Path) -> list[Mapping[str, Any]]:
    """Whole lines, in the order of their steps; of a step that was done again after a resumption the last one."""
    found: dict[int, Mapping[str, Any]] = {}
    for line in read_text(path).splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and is_number(record.get("step")):
            found[int(record["step"])] = record
    return [found[step] for step in sorted(found)]


def numbered(folder: Path) -> list[tuple[int, Path]]:
    """The folders step-N, by N."""
    found = [(re.fullmatch(r"step-(\d+)", path.name), path) for path in folder.glob("step-*") if path.is_dir()]
    return sorted((int(match.group(1)), path) for match, path in found if match)


def read_validations(folder: Path) -> list[ValidationRecord]:
    found = []
    for step, path in numbered(folder):
        tree = read_json(path / "figures.json")
        figures = {name: value for name, value in tree.items() if is_number(value) and name != "step"}
        leak = tree.get("leak")
        found.append(ValidationRecord(step, path, figures, leak if isinstance(leak, dict) else {}))
    return found


def read_checkpoints(folder: Path) -> list[tuple[int, int]]:
    return [
        (step, sum(file.stat().st_size for file in path.rglob("*") if file.is_file()))
        for step, path in numbered(folder)
    ]

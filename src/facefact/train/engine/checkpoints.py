"""Checkpoints of a training: `checkpoints/step-N/`, each whole or not there; and the lock on a training's folder.

One is written under another name, brought to the disk, and renamed: a power cut, a full disk or `kill -9` leaves the
ones before it as they were.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from facefact.types import UserError

FORMAT = 1
MODEL, AVERAGE, OPTIMIZER, STATE = "model.safetensors", "average.safetensors", "optimizer.pt", "state.json"
NAME = re.compile(r"step-(\d+)")


UNREADABLE = (OSError, SafetensorError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError)


class Damaged(Exception):
    """A checkpoint that cannot be read: cut short, or a file of it is gone."""


@dataclass(frozen=True)
class Snapshot:
    """A training between two steps. step: how many are done. model: what learns, and the buffers. average: that of what
    learns. optimizer: states of the optimizers and of the loss scaling. schedule: the settings it was made with."""

    step: int
    model: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]


class Checkpoints:
    """Those of one training. limit: how many are kept (0: all)."""

    def __init__(self, folder: Path, limit: int = 2):
        self.folder, self.limit = folder, limit

    def directory(self, step: int) -> Path:
        return self.folder / f"step-{step}"

    def steps(self) -> list[int]:
        """The steps of the checkpoints, newest first."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted((int(found[1]) for name in names if (found := NAME.fullmatch(name))), reverse=True)

    def clean(self) -> None:
        """Remove what an interrupted `writing` left."""
        for path in self.folder.glob(".step-*.partial"):
            shutil.rmtree(path, ignore_errors=True)

    def partial(self, step: int) -> Path:
        return self.folder / f".step-{step}.partial"

    def save(self, snapshot: Snapshot) -> Path:
        """Write a checkpoint and prune old ones. OSError: it could not be written; those before it are still there."""
        partial = self.begin(snapshot.step)
        try:
            _save_tensors(partial / MODEL, snapshot.model)
            _save_tensors(partial / AVERAGE, snapshot.average)
            _save_torch(partial / OPTIMIZER, snapshot.optimizer)
            return self.complete(snapshot.step, snapshot.schedule)
        finally:  # (renamed by now, or not worth anything)
            shutil.rmtree(partial, ignore_errors=True)

    def begin(self, step: int) -> Path:
        """An empty directory for the files of a checkpoint, under a name that nobody reads."""
        partial = self.partial(step)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        return partial

    def complete(self, step: int, schedule: dict[str, Any], **more: Any) -> Path:
        """All files are written: bring them to the disk, give the checkpoint its name, and prune."""
        partial, directory = self.partial(step), self.directory(step)
        state = {"format": FORMAT, "step": step, **more, "schedule": schedule}
        (partial / STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        for path in partial.rglob("*"):
            _to_disk(path)
        _to_disk(partial)
        shutil.rmtree(directory, ignore_errors=True)  # (the same step, of a run that went back before it)
        partial.rename(directory)
        _to_disk(self.folder)
        self.prune()
        return directory

    def prune(self) -> None:
        for step in self.steps()[self.limit :] if self.limit else []:
            shutil.rmtree(self.directory(step), ignore_errors=True)

    def state(self, step: int) -> dict[str, Any]:
        """state.json of a checkpoint. Damaged; UserError: made by another version of facefact."""
        path = self.directory(step) / STATE
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise Damaged(f"{path.name}: {error}") from error
        if state.get("format") != FORMAT:
            raise UserError(
                f"{path} was written by another version of facefact (format {state.get('format')}, not "
                f"{FORMAT}); give another folder"
            )
        return state

    def read(self, step: int) -> Snapshot:
        """A checkpoint, on the CPU. Damaged; UserError: made by another version of facefact."""
        directory, state = self.directory(step), self.state(step)
        try:
            return Snapshot(
                step=int(state["step"]),
                model=load_file(directory / MODEL),
                average=load_file(directory / AVERAGE),
                optimizer=torch.load(directory / OPTIMIZER, map_location="cpu", weights_only=True),
                schedule=state["schedule"],
            )
        except UNREADABLE as error:
            raise Damaged((str(error).strip() or type(error).__name__).splitlines()[0]) from error

    def newest_whole(self, *, check: bool = True) -> tuple[int, list[str]]:
        """(step, what to tell the user): the newest checkpoint that can be read; step 0 where there is none at all.

        Damaged ones are set aside as `damaged-step-N`. check: read all of it, not only its state.json. UserError: there
        are checkpoints, and none can be read.
        """
        told: list[str] = []
        for step in self.steps():
            try:
                self.read(step) if check else self.state(step)
                return step, told
            except Damaged as error:
                told.append(f"{self.directory(step)} is damaged ({error}): going on from the one before it")
                aside = self.folder / f"damaged-step-{step}"
                shutil.rmtree(aside, ignore_errors=True)
                self.directory(step).rename(aside)
        if told:
            raise UserError(f"no checkpoint in {self.folder} can be read; remove that folder to begin again")
        return 0, told


def _save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    try:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:  # (its name for a full disk)
        raise OSError(str(error)) from error


def _save_torch(path: Path, state: dict[str, Any]) -> None:
    try:
        torch.save(state, path)
    except RuntimeError as error:  # (its name for a full disk)
        raise OSError(str(error).splitlines()[0]) from error


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

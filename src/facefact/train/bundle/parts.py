"""What the embedded bundle is made of, and how far one in the making has come.

A part has a folder of its own; `done.json` in it, written last, says that the part is finished, what it was made with
(a fingerprint of its settings and of those of the parts that it stands on) and how its training ended.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from facefact import checkpoint
from facefact.train.bundle.config import WorldConfig
from facefact.train.engine.schedule import WITHOUT_EFFECT
from facefact.train.settings import differing
from facefact.types import UserError

DONE = "done.json"
# The key of a part's name in `done.json` and fingerprints; another would make every finished part unfinished.
FILED_AS = "stage"


@dataclass(frozen=True)
class Part:
    """settings: its group of the config. inputs: the parts that it is made with."""

    settings: str
    inputs: tuple[str, ...] = ()


PARTS: Mapping[str, Part] = {
    "autoencoder": Part("autoencoder"),
    "decoder": Part("decoder", ("autoencoder",)),
    "encoder": Part("encoder"),
    "portraits": Part("portraits", ("autoencoder", "encoder")),
    "base": Part("base", ("portraits",)),
    "adapter": Part("adapter", ("encoder", "portraits", "base")),
    "adapter_without_fair": Part("adapter", ("encoder", "portraits", "base")),
    "judge": Part("judge"),
    "reader": Part("reader"),
    "face_detector": Part("face_detector"),
}


@dataclass(frozen=True)
class Build:
    """One bundle in the making: its settings, its folder, and the processes that work on it."""

    config: WorldConfig
    out: Path
    accelerator: Accelerator

    def folder(self, part: str) -> Path:
        return self.out / part

    def model(self, part: str) -> Path:
        """What a finished part hands on (the portraits: the folder itself)."""
        return self.out / part / "model"

    @property
    def rank(self) -> int:
        return self.accelerator.process_index


def settings(config: WorldConfig, name: str) -> dict[str, Any]:
    """The settings of a part that decide its result (not how often it saves, who makes its batches, or compiles)."""
    tree = asdict(getattr(config, PARTS[name].settings))
    tree.pop("compile", None)
    for key in WITHOUT_EFFECT:
        tree.get("schedule", {}).pop(key, None)
    return tree


def fingerprint(config: WorldConfig, name: str) -> str:
    """Of the part's settings and of those of all that it stands on."""
    inputs = {needed: fingerprint(config, needed) for needed in PARTS[name].inputs}
    text = json.dumps({FILED_AS: name, "settings": settings(config, name), "inputs": inputs}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_done(build: Build, name: str, figures: Mapping[str, Any]) -> None:
    """Mark a part as finished. figures: how its training ended."""
    record = {
        FILED_AS: name,
        "fingerprint": fingerprint(build.config, name),
        "settings": settings(build.config, name),
        "figures": dict(figures),
    }
    with checkpoint.replacing(build.folder(name) / DONE) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def is_done(build: Build, name: str) -> bool:
    """Whether the part is finished. UserError: it is, and was made with other settings."""
    marker = build.folder(name) / DONE
    if not marker.is_file():
        return False
    made = json.loads(marker.read_text(encoding="utf-8"))
    if made["fingerprint"] == fingerprint(build.config, name):
        return True
    now = json.loads(json.dumps(settings(build.config, name)))
    changed = sorted(differing(made["settings"], now)) or [
        f"a part that it stands on ({', '.join(PARTS[name].inputs)})"
    ]
    raise UserError(
        f"{build.folder(name)} is finished, with other settings ({', '.join(changed[:3])}): give another folder, or "
        "remove this one and those of the parts that stand on it"
    )


def require(build: Build, name: str, *, reader_of: str) -> None:
    """UserError: the part is not finished, or was made with other settings."""
    if not is_done(build, name):
        raise UserError(
            f"{reader_of} needs the part {name}, and {build.folder(name)} is not finished: make that part first"
        )


def last_record(folder: Path) -> dict[str, Any]:
    """The last line of the part's metrics; empty where nothing was trained."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return json.loads(lines[-1]) if lines else {}

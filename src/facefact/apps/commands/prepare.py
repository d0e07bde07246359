"""`facefact prepare INPUT --out DATASET`: pictures of people become a clean training set; interrupted, it goes on with
the same command."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.config import load_config
from facefact.data.prepare_config import PrepareConfig
from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.data.engine import Engine
    from facefact.data.prepare import Prepared


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "prepare",
        help="pictures of people -> a clean training set",
        description="Make a clean training set: faces found, measured, masked and aligned, duplicates and strangers "
        "left out, people told apart, captions written. INPUT: a folder per person, a folder of pictures, pictures "
        "with metadata.jsonl, Parquet files or WebDataset tars. The same command again goes on where it stopped.",
    )
    parser.add_argument("input", metavar="INPUT", type=Path, help="a folder, a Parquet file or a tar")
    parser.add_argument("--out", metavar="DATASET", type=Path, required=True, help="folder for the dataset")
    parser.add_argument("--config", metavar="FILE", type=Path, help="settings (YAML); see configs/prepare.yaml")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="one setting; may be repeated")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="who does the work")
    parser.add_argument("--workers", metavar="N", type=int, help="processes; default: one a core")
    parser.add_argument("--ray-address", metavar="ADDRESS", help="a running Ray cluster (auto: this machine's)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from facefact.data.prepare import prepare

    settings = load_config(PrepareConfig, args.config, overrides=args.set)
    bars = Bars()
    try:
        made = prepare(args.input, args.out, settings, engine=chosen_engine(args), progress=bars.show)
    finally:
        bars.close()
    print(json.dumps(as_json(made), indent=2) if args.json else "\n".join(lines(made)))
    return 0


def chosen_engine(args: argparse.Namespace) -> Engine:
    """UserError: options that do not fit each other."""
    if args.workers is not None and args.workers < (0 if args.engine == "local" else 1):
        raise UserError(f"--workers {args.workers}: give at least one (or 0 with --engine local: no other process)")
    if args.engine == "ray":
        from facefact.data.ray_engine import RayEngine

        return RayEngine(args.workers, address=args.ray_address)
    if args.ray_address is not None:
        raise UserError("--ray-address is of --engine ray")
    from facefact.data.local import LocalEngine

    return LocalEngine(args.workers)


class Bars:
    """One bar on stderr for each part of the work, with rate and time left."""

    def __init__(self) -> None:
        self.title, self.bar = "", None

    def show(self, title: str, done: int, of: int | None) -> None:
        from tqdm import tqdm

        if title != self.title:
            self.close()
            self.title = title
            self.bar = tqdm(total=of, initial=done, desc=title, unit="picture", dynamic_ncols=True, file=sys.stderr)
        assert self.bar is not None
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def lines(made: Prepared) -> list[str]:
    """For people: what was kept, and what was left out why, the most frequent reason first."""
    if made.again:
        return [f"{made.folder} is prepared already: {made.kept} samples of {made.people} people"]
    splits = ", ".join(f"{count} {split}" for split, count in made.splits.items())
    shown = [f"{made.inputs} pictures: {made.kept} samples of {made.people} people ({splits})"]
    for (stage, reason), count in sorted(made.rejected.items(), key=lambda one: (-one[1], one[0])):
        shown.append(f"  {count:6} left out, {stage}: {reason}")
    return [*shown, f"look at {made.folder / 'report.html'}"]


def as_json(made: Prepared) -> dict[str, Any]:
    reasons = [{"stage": stage, "reason": reason, "count": n} for (stage, reason), n in sorted(made.rejected.items())]
    return {**asdict(made), "folder": str(made.folder), "rejected": reasons}

"""`facefact bench train`: what a training step costs, as ratios within one run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from facefact.apps.portraits import silence_loading


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("bench", help="measure speed and memory", description="Measure speed and memory.")
    measured = parser.add_subparsers(title="what", dest="what", metavar="WHAT", required=True)
    _add_train(measured)


def _add_train(measured: Any) -> None:
    line = "the trainer's step against the bare one, and against a loop that encodes in every step"
    parser = measured.add_parser("train", help=line, description=f"Measure {line}.")
    parser.add_argument("--config", type=Path, metavar="CONFIG", help="a recipe of an adapter, for instance "
                        "configs/sd15.yaml (default: the embedded model, 128 px)")  # fmt: skip
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", dest="overrides",
                        help="change settings, for instance schedule.batch=8")  # fmt: skip
    parser.add_argument(
        "--steps", type=int, default=12, metavar="N", help="measured steps of each variant (default 12)"
    )
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8], metavar="N", help="other batch sizes, "
                        "for samples per second (default 1 8)")  # fmt: skip
    parser.add_argument("--compile", action="store_true", help="torch.compile too; its first step takes minutes")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory (a process a variant)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go; a plot is drawn beside")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from facefact.config import load_config
    from facefact.evaluate.bench_train import DEFAULT, bench_train, draw
    from facefact.train.adapter_config import AdapterTraining
    from facefact.types import UserError

    silence_loading()
    if args.steps < 1 or any(n < 1 for n in args.batches):
        raise UserError("--steps and --batches are numbers from 1 on")
    overrides = [*(DEFAULT if args.config is None else ()), *args.overrides]
    config = load_config(AdapterTraining, args.config, overrides=overrides)
    with tqdm(total=args.steps + 1, desc="bench train", unit="round") as bar:
        figures = bench_train(
            config, rounds=args.steps, batches=args.batches, compiled=args.compile, memory=not args.no_memory,
            progress=bar.update,
        )  # fmt: skip
    if args.json is not None:
        _write(figures, args.json)
        draw(figures, args.json.with_suffix(".png"))
    print("\n".join(table(figures)))
    return 0


def _write(figures: dict[str, Any], path: Path) -> None:
    from facefact.checkpoint import replacing

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def table(figures: dict[str, Any]) -> list[str]:
    """The figures in Markdown, for the terminal and for pages: median, and quartiles in brackets."""

    def cell(one: dict[str, float], *, percent: bool = False) -> str:
        if percent:
            return f"{one['median']:.1%} [{one['low']:.1%}, {one['high']:.1%}]"
        return f"{one['median']:.3g} [{one['low']:.3g}, {one['high']:.3g}]"

    lines = ["| | wall time | CPU time |", "| --- | --- | --- |"]
    for name, one in figures["seconds_per_step"].items():
        lines.append(f"| {name}: seconds a step | {cell(one['wall'])} | {cell(one['cpu'])} |")
    for name, one in figures["ratios"].items():
        lines.append(f"| {name} | {cell(one['wall'])} | {cell(one['cpu'])} |")
    share = figures["fair_share"]
    lines.append(f"| FAIR's share | {cell(share['wall'], percent=True)} | {cell(share['cpu'], percent=True)} |")
    lines.append(f"| share of time waiting for data | {cell(figures['data_wait_share'], percent=True)} | |")
    for size, rate in figures["samples_per_second"].items():
        lines.append(f"| samples a second, batch {size} | {rate['wall']:.3g} | {rate['cpu']:.3g} |")
    for name, mib in figures["peak_mib"].items():
        lines.append(f"| peak memory of {name} | {mib:.0f} MiB | |")
    lines.append(f"| one checkpoint | {figures['checkpoint_seconds']:.2f} s | |")
    return lines

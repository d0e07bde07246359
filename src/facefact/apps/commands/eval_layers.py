"""`facefact eval layers`: what the bundle's adapter loses without each of its layers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from facefact.apps.options import add_bundle
from facefact.apps.parser import at_least
from facefact.apps.progress import show, silence_loading
from facefact.demo import SCALE


def add(protocols: Any) -> None:
    line = "what the bundle's adapter loses without each of its layers, and without whole blocks"
    parser = protocols.add_parser("layers", help=line, description=f"Measure {line}.")
    add_table(parser)
    parser.add_argument("--steps", type=at_least(1), default=12, metavar="N", help="denoising steps (default 12)")
    parser.add_argument("--scale", type=float, default=SCALE, help=f"of the layers that stay (default {SCALE})")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="BLOCK[,BLOCK ...]",
        help="leave these blocks out, by the beginning of their names, together; several times: several rows "
        "(default: each layer alone, then each larger part of the model)",
    )


def add_table(parser: argparse.ArgumentParser) -> None:
    """What the tables have that grow row by row."""
    parser.add_argument(
        "--json",
        type=Path,
        required=True,
        metavar="FILE",
        help="where the table goes, row by row; the same one again: adds what it lacks",
    )
    parser.add_argument("--seed", type=int, default=1, help="other people, looks and noise (default 1)")
    parser.add_argument("--people", type=at_least(2), default=100, help="unseen people (default 100)")
    parser.add_argument("--per-person", type=at_least(1), default=1, help="pictures of each (default 1)")
    add_bundle(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the table as Markdown, and draws it beside the JSON."""
    from facefact.demo import bundle_path, judges_path
    from facefact.device import choose_device
    from facefact.evaluate import importance
    from facefact.evaluate.pictures import Sampling

    silence_loading()
    report = importance.layer_importance(
        args.bundle or bundle_path(),
        args.judges or judges_path(),
        path=args.json,
        without=[tuple(one.split(",")) for one in args.without],
        seed=args.seed,
        people=args.people,
        per_person=args.per_person,
        sampling=Sampling(steps=args.steps, scale=args.scale),
        device=choose_device(args.device),
        progress=show,
    )
    try:
        importance.draw(report, args.json.with_suffix(".png"))
    except ImportError:
        print("no plot is drawn without matplotlib: pip install matplotlib", file=sys.stderr)
    print(importance.markdown(report), end="")
    return 0

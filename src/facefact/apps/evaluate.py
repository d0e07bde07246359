"""`facefact eval world`: the figures of a bundle, on people that no training saw."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from facefact.apps.portraits import silence_loading


def add_parser(subparsers: Any) -> None:
    line = "measure a model: `facefact eval world` scores a bundle on unseen people of the portrait world"
    parser = subparsers.add_parser("eval", help="measure a model", description=line)
    parser.add_argument("protocol", choices=["world"], help="what it is measured on")
    parser.add_argument("--seed", type=int, default=1, help="other people, looks and noise (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument("--people", type=int, default=100, help="unseen people (default 100)")
    parser.add_argument("--per-person", type=int, default=4, help="pictures of each (default 4)")
    parser.add_argument("--steps", type=int, default=12, help="denoising steps (default 12)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the adapter (default 1)")
    parser.add_argument("--guidance-scale", type=float, default=3.0, help="of the text (default 3)")
    parser.add_argument("--bundle", type=Path, help="a bundle directory (default: the embedded one)")
    parser.add_argument("--judges", type=Path, help="its judges (default: the embedded ones)")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")


def run(args: argparse.Namespace) -> int:
    from facefact.apps.progress import show
    from facefact.demo import bundle_path, judges_path
    from facefact.device import choose_device
    from facefact.evaluate.pictures import Sampling
    from facefact.evaluate.world import evaluate_world

    silence_loading()
    report = evaluate_world(
        args.bundle or bundle_path(),
        args.judges or judges_path(),
        seed=args.seed,
        people=args.people,
        per_person=args.per_person,
        sampling=Sampling(steps=args.steps, guidance_scale=args.guidance_scale, scale=args.scale),
        device=choose_device(args.device),
        progress=show,
    )
    text = json.dumps(report, indent=2) + "\n"
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        partial = args.json.with_name(args.json.name + ".partial")
        partial.write_text(text)
        os.replace(partial, args.json)
    print("\n".join(table(report)))
    return 0


def table(report: dict[str, Any], name: str = "") -> list[str]:
    """One line a figure: name, value, 95 % interval, samples."""
    lines: list[str] = []
    for key, value in report.items():
        dotted = f"{name}.{key}" if name else key
        if isinstance(value, dict) and "low" in value:
            lines.append(
                f"{dotted:<44}{value['value']:>9.3f}  [{value['low']:.3f}, {value['high']:.3f}]  n={value['n']}"
            )
        elif isinstance(value, dict):
            lines += table(value, dotted)
        else:
            lines.append(f"{dotted:<44}{value!s:>9}")
    return lines

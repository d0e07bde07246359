"""`facefact eval groups`: several unseen people in one picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from facefact.apps.options import add_bundle
from facefact.apps.parser import at_least
from facefact.apps.progress import show, silence_loading


def add(protocols: Any) -> None:
    line = "several unseen people in one picture: is each the right one, and as asked"
    parser = protocols.add_parser("groups", help=line, description=f"{line.capitalize()}?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument("--sheet", type=Path, metavar="PICTURE", help="where some of the pictures go, side by side")
    parser.add_argument("--seed", type=int, default=1, help="other people, looks and noise (default 1)")
    parser.add_argument("--people", type=at_least(8), default=100, help="unseen people (default 100)")
    parser.add_argument("--counts", type=int, nargs="+", default=[2, 3, 4], metavar="N", help="in a picture")
    parser.add_argument(
        "--ways",
        nargs="+",
        default=["squares"],
        metavar="WAY",
        help="with other people's picture, whose faces are replaced: squares (a batch of a square about each face), "
        "one_by_one (the same squares, one after the other), template (one run over the whole picture); without it: "
        "portraits (laid side by side), noise (one run over the whole picture); the default is squares",
    )
    parser.add_argument("--alike", action="store_true", help="measure one person as everybody in a picture, too")
    parser.add_argument("--steps", type=at_least(1), default=12, help="denoising steps (default 12)")
    add_bundle(parser)


def figures(args: argparse.Namespace) -> dict[str, Any]:
    from facefact.demo import PUBLISHED_GUIDANCE_SCALE, bundle_path, judges_path
    from facefact.device import choose_device
    from facefact.evaluate.groups import evaluate_groups
    from facefact.evaluate.pictures import Sampling

    silence_loading()
    return evaluate_groups(
        args.bundle or bundle_path(),
        args.judges or judges_path(),
        seed=args.seed,
        people=args.people,
        counts=args.counts,
        ways=args.ways,
        alike=args.alike,
        sampling=Sampling(  # as `facefact group` has it
            steps=args.steps, guidance_scale=PUBLISHED_GUIDANCE_SCALE, scale=0.7, face_guidance=True
        ),
        sheet=args.sheet,
        device=choose_device(args.device),
        progress=show,
    )

"""`facefact eval inpaint`: how well people are put into templates, and how well naive ways do it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from facefact.apps.options import add_bundle
from facefact.apps.parser import at_least
from facefact.apps.progress import show, silence_loading
from facefact.types import UserError


def add(protocols: Any) -> None:
    line = "put unseen people into templates of whom everything is known, in several ways"
    parser = protocols.add_parser("inpaint", help=line, description=f"{line.capitalize()}.")
    parser.add_argument(
        "--photos",
        type=Path,
        metavar="FOLDER",
        help="measure on photos, a folder of them for each person, what needs no model: edges, skin, what stays",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="a picture of the first templates and results")
    parser.add_argument("--seed", type=int, default=1, help="other people, templates and noise (default 1)")
    parser.add_argument("--people", type=at_least(2), default=100, help="unseen people (default 100)")
    parser.add_argument("--templates", type=at_least(1), default=4, help="of each person (default 4)")
    parser.add_argument("--steps", type=at_least(2), default=12, help="denoising steps (default 12)")
    parser.add_argument("--ways", nargs="+", metavar="WAY", help="only these (default: all)")
    add_bundle(parser)


def figures(args: argparse.Namespace) -> dict[str, Any]:
    """UserError: no such way, or an option that means nothing for photos."""
    if args.photos is not None:
        return photo_figures(args)
    from facefact.demo import bundle_path, judges_path
    from facefact.device import choose_device
    from facefact.evaluate.inpaint import WAYS, evaluate_inpaint

    ways = args.ways or WAYS
    if unknown := [way for way in ways if way not in WAYS]:
        raise UserError(f"no way is called {unknown[0]}; the ways: {', '.join(WAYS)}")
    silence_loading()
    return evaluate_inpaint(
        args.bundle or bundle_path(),
        args.judges or judges_path(),
        seed=args.seed,
        people=args.people,
        templates=args.templates,
        steps=args.steps,
        device=str(choose_device(args.device)),
        ways=ways,
        sheet=args.sheet,
        progress=show,
    )


MODELS_OPTIONS = {"seed": 1, "steps": 12, "ways": None, "bundle": None, "judges": None, "device": None}


def photo_figures(args: argparse.Namespace) -> dict[str, Any]:
    """UserError: no such folder, too few people, or an option for a model."""
    from facefact.evaluate.inpaint_photos import evaluate_photos
    from facefact.faces import get_detector

    if given := [name for name, default in MODELS_OPTIONS.items() if getattr(args, name) != default]:
        raise UserError(f"--{given[0]} is for a model, and --photos needs none: leave one of them out")
    if not args.photos.is_dir():
        raise UserError(f"--photos {args.photos}: there is no such folder")
    return evaluate_photos(
        args.photos,
        get_detector(),
        people=args.people,
        templates=args.templates,
        sheet=args.sheet,
        progress=show,
    )

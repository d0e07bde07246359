"""`facefact train CONFIG`: a face adapter, a face encoder, or the bundled model from nothing; interrupted, it goes
on with the same command."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from facefact.apps.options import add_overrides


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a face adapter, or the bundled model from nothing",
        description="Train the bundled model from nothing: autoencoder, face encoder, base model, adapter, and the "
        "judges of the evaluation. The same command again goes on where it stopped.",
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the recipe, for instance configs/smoke.yaml")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="RUN",
        help="the folder of the run (default: runs/<name of CONFIG>); the same one again: goes on where it stopped",
    )
    add_overrides(parser, "loss.fair=0.02")
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        default=[],
        metavar="PART",
        help="of a recipe in parts (configs/world.yaml): make only these",
    )


def run(args: argparse.Namespace) -> int:
    """Train what the recipe says; the first of several processes says where."""
    from facefact.train.recipe import train_recipe

    out = args.out or Path("runs") / args.config.stem
    made = train_recipe(args.config, out, overrides=args.overrides, only=args.only)
    if int(os.environ.get("RANK", "0")) == 0:
        print(made)
    return 0

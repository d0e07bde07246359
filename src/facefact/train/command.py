"""The command line of a training, its options and what they do: `facefact train` and `python -m facefact.train`."""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from pathlib import Path

from facefact.types import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the recipe, for instance configs/world.yaml")
    parser.add_argument("--out", type=Path, metavar="RUN", help="the folder of the run (default: runs/<name of "
                        "CONFIG>); the same one again: goes on where it stopped")  # fmt: skip
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", dest="overrides",
                        help="change settings, for instance adapter.loss.fair=0.02")  # fmt: skip
    parser.add_argument("--only", nargs="+", action="extend", default=[], metavar="STAGE", help="run only these stages")


def run(args: argparse.Namespace) -> int:
    """Build the bundle, or the part of it that was asked for. Exit code 0; UserError: see `build`."""
    if find_spec("accelerate") is None:
        raise UserError("training needs Accelerate: pip install 'facefact[train]'")
    import diffusers
    import transformers

    from facefact.config import load_config
    from facefact.train.bundle import build
    from facefact.train.world_config import WorldConfig

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()  # theirs; the stages show their own
    config = load_config(WorldConfig, args.config, overrides=args.overrides)
    out = args.out or Path("runs") / args.config.stem
    bundle = build(config, out, only=args.only)
    if int(os.environ.get("RANK", "0")) == 0:
        print(bundle if not args.only else out)
    return 0

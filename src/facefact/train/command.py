"""The command line of a training, its options and what they do: `facefact train` and `python -m facefact.train`."""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from facefact.types import UserError

RECIPES = ("adapter", "encoder", "world")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the recipe, for instance configs/smoke.yaml")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="RUN",
        help="the folder of the run (default: runs/<name of CONFIG>); the same one again: goes on where it stopped",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change settings, for instance loss.fair=0.02",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        default=[],
        metavar="PART",
        help="of a recipe in parts (configs/world.yaml): make only these",
    )


def run(args: argparse.Namespace) -> int:
    """Train what the recipe says. Exit code 0; UserError: what is wrong with settings, data or the folder."""
    if find_spec("accelerate") is None:
        raise UserError("training needs Accelerate: pip install 'facefact[train]'")
    kind = recipe_of(args.config)
    if args.only and kind != "world":
        raise UserError(f"--only chooses parts of a recipe that has some; {args.config} is one training")
    quiet_libraries()
    made = train(kind, args, args.out or Path("runs") / args.config.stem)
    if int(os.environ.get("RANK", "0")) == 0:
        print(made)
    return 0


def recipe_of(config: Path) -> str:
    """What the file says that it trains (`recipe:`)."""
    from facefact.config import load_config

    try:
        tree = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        load_config(object, config)  # says what is wrong with the file
        raise
    kind = tree.get("recipe") if isinstance(tree, dict) else None
    if kind not in RECIPES:
        raise UserError(f"{config} does not say what it trains: begin it with `recipe:`, one of {', '.join(RECIPES)}")
    return str(kind)


def train(kind: str, args: argparse.Namespace, out: Path) -> Path:
    from facefact.config import load_config

    def settings(of: type[Any]) -> Any:
        return load_config(of, args.config, overrides=args.overrides)

    if kind == "adapter":
        from facefact.train.adapter.run import train_adapter
        from facefact.train.settings import AdapterTraining

        return train_adapter(settings(AdapterTraining), out)
    if kind == "encoder":
        from facefact.train.encoder.config import EncoderTraining
        from facefact.train.encoder.run import train_encoder

        return train_encoder(settings(EncoderTraining), out)
    from facefact.train.bundle.build import build_bundle
    from facefact.train.bundle.config import WorldConfig

    bundle = build_bundle(settings(WorldConfig), out, only=args.only)
    return out if args.only else bundle


def quiet_libraries() -> None:
    """Their own progress bars and advice stay out of ours."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()

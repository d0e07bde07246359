"""A training from its recipe: a file that says in `recipe:` what it trains."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from facefact.types import UserError

RECIPES = ("adapter", "encoder", "world")


def train_recipe(config: Path, out: Path, *, overrides: Sequence[str] = (), only: Sequence[str] = ()) -> Path:
    """Train what the recipe says in the folder `out`, or go on there; returns what was made: the directory of the
    adapter, encoder or bundle, or `out` where only some parts were asked for.

    overrides: settings as KEY=VALUE. only: of a recipe in parts (`recipe: world`), these. UserError: what is wrong with
    settings, data or the folder.
    """
    if find_spec("accelerate") is None:
        raise UserError("training needs Accelerate: pip install 'facefact[train]'")
    kind = recipe_of(config)
    if only and kind != "world":
        raise UserError(f"--only chooses parts of a recipe that has some; {config} is one training")
    quiet_libraries()
    from facefact.config import load_config

    def settings(of: type[Any]) -> Any:
        return load_config(of, config, overrides=overrides)

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

    bundle = build_bundle(settings(WorldConfig), out, only=only)
    return out if only else bundle


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


def quiet_libraries() -> None:
    """Their own progress bars and advice stay out of ours."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()

"""Making a picture again from the recipe inside of it: what `generate` and `group` share."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facefact.types import UserError

log = logging.getLogger("facefact")

# By the kind of a recipe: the command that makes such pictures, and whether it makes them again.
COMMANDS = {
    "text-to-image": ("generate", True),
    "group": ("group", True),
    "group in a template": ("group", True),
    "inpainting": ("inpaint", False),
}
PEOPLE = ("faces", "which", "people", "template", "layout")


def recipe_to_replay(picture: Path, kinds: Sequence[str]) -> dict[str, Any]:
    """UserError: there is none in the picture, or one of another kind, with the command that replays it."""
    from facefact.generate import read_recipe

    recipe = read_recipe(picture)
    kind = recipe.get("kind")
    if kind in kinds:
        return recipe
    command, replays = COMMANDS.get(str(kind), (f"another maker ({kind})", False))
    mending = f": `facefact {command} --recipe` makes it again" if replays else ", whose pictures are not replayed"
    raise UserError(f"{picture} is of `facefact {command}`{mending}")


def with_parts_of(args: argparse.Namespace, recipe: dict[str, Any]) -> tuple[argparse.Namespace, set[str]]:
    """The options, filled up with what the recipe was made with; and what of it they had named themselves."""
    from facefact.demo import DEMO
    from facefact.generate.reopen import as_it_was

    named = {"model": args.model, "adapter": args.adapter, "vae": args.vae, "scheduler": args.scheduler}
    given = {name for name, value in (named | {"loras": args.lora}).items() if value}
    found = {"model": args.model or DEMO}
    if recipe:
        found |= as_it_was(recipe, near=args.recipe.parent, given=given)
    if "loras" in found:
        found["lora"] = found.pop("loras")
    return argparse.Namespace(**(vars(args) | found)), given


def warn_of_differences(recipe: dict[str, Any], origin: dict[str, Any]) -> None:
    """Logs what is not as the recipe says: model and parts, scheduler, and the pictures of people and template."""
    from facefact.generate.reopen import parts_of, same

    if recipe and not ("faces" in recipe or "people" in recipe):
        log.warning("warning: the recipe is not whole: of which face the picture was, it does not say")
    said, here = parts_of(recipe), parts_of(origin)
    others = [key for key in said if not same(said[key], here.get(key))]
    others += [key for key in ("scheduler", *PEOPLE) if key in recipe and recipe[key] != origin.get(key, recipe[key])]
    for key in others:
        log.warning("warning: %s is not what the recipe says: the picture will be another one", key)

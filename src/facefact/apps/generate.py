"""`facefact generate`: photos of one person and a prompt become portraits of that person."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.apps import portraits
from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.types import Portrait

log = logging.getLogger("facefact")

REPLAYED = ("negative_prompt", "seed", "steps", "scale", "guidance_scale", "start", "end", "local", "width", "height")
EXAMPLE = 'facefact generate --face me.jpg --prompt "a portrait in a red coat, smiling, snow" -n 4 --seed 7'


def add_parser(subparsers: Any) -> None:
    line = "photos of one person + a prompt -> portraits of that person"
    parser = subparsers.add_parser("generate", help=line, description=f"{line}. Example: {EXAMPLE}")
    portraits.add_options(parser)
    parser.add_argument("--which", type=int, default=0, help="which face of a photo, 0 is the largest (default 0)")
    parser.add_argument("--width", type=int, help="as --size, the width alone")
    parser.add_argument("--height", type=int, help="as --size, the height alone")
    parser.add_argument(
        "--batch",
        type=portraits.at_least_one,
        default=1,
        metavar="N",
        help="pictures at a time: more pictures a minute while the machine is not full, and more memory (default 1)",
    )
    parser.add_argument(
        "--recipe",
        type=Path,
        metavar="PICTURE",
        help="make this picture again: its settings, unless others are given here",
    )


def run(args: argparse.Namespace) -> int:
    args.width, args.height = args.width or args.size, args.height or args.size
    recipe = _replay(args) if args.recipe else {}
    portraits.check_prompts(args)
    portraits.refuse_to_overwrite(args)

    from facefact.faces import get_detector
    from facefact.generate import Settings, text_to_images

    settings = portraits.settings_from(Settings, args)
    crops, person = portraits.find_person(args, get_detector(model=args.yunet), which=args.which)
    studio = portraits.open_studio(args)
    tokens = studio.adapter.encode(crops)
    origin = studio.origin | person
    _warn_of_differences(recipe, origin)

    def make(wanted: list[Settings], on_step: Callable[[], None]) -> Iterator[Portrait]:
        return text_to_images(
            studio.pipe, studio.adapter, tokens, wanted, batch=args.batch, origin=origin, on_step=on_step
        )

    made = portraits.make_portraits(args, settings, make, steps=settings.steps, origin=origin, batch=args.batch)
    return portraits.report(args, made)


def _replay(args: argparse.Namespace) -> dict[str, Any]:
    """Fills the options that were not given from a picture's recipe, and returns the recipe."""
    from facefact.generate import read_recipe

    recipe = read_recipe(args.recipe)
    if recipe.get("kind") != "text-to-image":
        raise UserError(f"{args.recipe} is of `facefact inpaint`; only pictures of `facefact generate` are replayed")
    args.prompt = args.prompt or [recipe.get("prompt", "")]
    for name in REPLAYED:
        if getattr(args, name) is None:
            setattr(args, name, recipe.get(name))
    return recipe


def _warn_of_differences(recipe: dict[str, Any], origin: dict[str, Any]) -> None:
    for key in origin if recipe else ():
        if recipe.get(key) != origin[key]:
            log.warning("warning: %s is not what the recipe says: the picture will be another one", key)

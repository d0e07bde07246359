"""`facefact generate`: photos of one person and a prompt become portraits of that person."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.apps import portraits
from facefact.apps.options import at_least_one
from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.types import Portrait

log = logging.getLogger("facefact")

EXAMPLE = 'facefact generate --face me.jpg --prompt "a portrait in a red coat, smiling, snow" -n 4 --seed 7'


def add_parser(subparsers: Any) -> None:
    line = "photos of one person + a prompt -> portraits of that person"
    parser = subparsers.add_parser("generate", help=line, description=f"{line}. Example: {EXAMPLE}")
    portraits.add_options(parser)
    parser.set_defaults(model=None)  # the demo, unless a recipe names another
    parser.add_argument("--which", type=int, default=0, help="which face of a photo, 0 is the largest (default 0)")
    parser.add_argument("--width", type=int, help="as --size, the width alone")
    parser.add_argument("--height", type=int, help="as --size, the height alone")
    parser.add_argument(
        "--batch",
        type=at_least_one,
        default=1,
        metavar="N",
        help="pictures at a time: more pictures a minute while the machine is not full, and more memory (default 1)",
    )
    parser.add_argument(
        "--recipe",
        type=Path,
        metavar="PICTURE",
        help="make this picture again: its settings and what it was made with (model, adapter, autoencoder, LoRAs, "
        "scheduler), unless others are given here",
    )


def run(args: argparse.Namespace) -> int:
    recipe = _recipe_to_replay(args.recipe) if args.recipe else {}
    args, given = _with_parts_of(args, recipe)
    prompts = args.prompt or ([recipe.get("prompt", "")] if recipe else [])
    portraits.check_prompts(prompts, model=args.model)

    from facefact.encoder.card import is_card
    from facefact.faces import get_detector
    from facefact.generate import Settings, find_person
    from facefact.generate.demo_model import settings_for
    from facefact.generate.reopen import check_same
    from facefact.generate.strangers import warn_of_strangers

    settings = settings_for(args.model, Settings, prompt=prompts[0], **_settings_given(args, recipe))
    pictures = portraits.pictures_wanted(args, settings, prompts)
    detector = None if all(map(is_card, args.face)) else get_detector(model=args.yunet)
    person = find_person(args.face, detector=detector, which=args.which, model=args.model)
    if recipe and not args.prompt and "words" not in recipe:
        args.exact_prompt = True  # as it was made
    if not args.exact_prompt:
        pictures = portraits.as_the_person_asks(pictures, person)
    studio = portraits.open_studio(args)
    tokens = studio.tokens(person)
    warn_of_strangers(person.names, person.crops, encoder=studio.adapter.encoder, cards=person.cards)
    check_same(recipe, studio.origin, given=given)
    _warn_of_differences(recipe, studio.origin | person.origin)

    def make(wanted: list[Settings], on_step: Callable[[], None]) -> Iterator[Portrait]:
        return studio.text_to_images(tokens, wanted, batch=args.batch, origin=person.origin, on_step=on_step)

    origin = studio.origin | person.origin
    inputs: dict[str, Any] = {"origin": origin, "photos": args.face}
    return portraits.make_and_print(args, pictures, make, steps=settings.steps, batch=args.batch, **inputs)


def _recipe_to_replay(picture: Path) -> dict[str, Any]:
    from facefact.generate import read_recipe

    recipe = read_recipe(picture)
    if recipe.get("kind") != "text-to-image":
        raise UserError(f"{picture} is of `facefact inpaint`; only pictures of `facefact generate` are replayed")
    return recipe


def _with_parts_of(args: argparse.Namespace, recipe: dict[str, Any]) -> tuple[argparse.Namespace, set[str]]:
    """The options, filled up with what the recipe was made with; and what of it they had named themselves."""
    from facefact.generate.demo_model import DEMO
    from facefact.generate.reopen import as_it_was

    named = {"model": args.model, "adapter": args.adapter, "vae": args.vae, "scheduler": args.scheduler}
    given = {name for name, value in (named | {"loras": args.lora}).items() if value}
    found = {"model": args.model or DEMO}
    if recipe:
        found |= as_it_was(recipe, near=args.recipe.parent, given=given)
    if "loras" in found:
        found["lora"] = found.pop("loras")
    return argparse.Namespace(**(vars(args) | found)), given


def _settings_given(args: argparse.Namespace, recipe: dict[str, Any]) -> dict[str, Any]:
    """The settings from the options; where one was not given, from the recipe; else None."""
    size = {"width": args.width or args.size, "height": args.height or args.size}
    given = portraits.settings_given(args) | size
    return {name: recipe.get(name) if value is None else value for name, value in given.items()}


def _warn_of_differences(recipe: dict[str, Any], origin: dict[str, Any]) -> None:
    from facefact.generate.reopen import parts_of, same

    if recipe and "faces" not in recipe:
        log.warning("warning: the recipe is not whole: of which face the picture was, it does not say")
    said, here = parts_of(recipe), parts_of(origin)
    others = [key for key in said if not same(said[key], here.get(key))]
    others += [
        key for key in ("scheduler", "faces", "which") if key in recipe and recipe[key] != origin.get(key, recipe[key])
    ]
    for key in others:
        log.warning("warning: %s is not what the recipe says: the picture will be another one", key)

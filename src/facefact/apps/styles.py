"""`--style`: a style's words, settings and LoRA put into a command's options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.generate import Studio


def add_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--style",
        metavar="NAME|FILE",
        help="one of `facefact styles list`, or a style's file; what is said here goes before the style's settings",
    )


def with_style(
    args: argparse.Namespace, recipe: Mapping[str, Any] | None = None, *, words: bool = True
) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The options with the style's put in where nothing else was said, and what the recipe says of it; a recipe that is
    replayed has its style's words and LoRA already, and keeps its name. words: False for a table, whose rows have
    prompts and settings of their own: then the LoRA alone.

    UserError: no such style, it is for another model, or it meets a recipe.
    """
    if args.style is None:
        kept = recipe is not None and "style" in recipe and not args.prompt
        return args, {"style": recipe["style"]} if recipe and kept else {}
    if args.recipe:
        raise UserError("a recipe is of a picture as it was: leave --style out, or --recipe")
    from facefact.generate.styles import apply, check_fits, find_style, lora_of, origin_of

    style = find_style(args.style)
    check_fits(style, model=args.model)
    lora = lora_of(style)
    found: dict[str, Any] = {"lora": [*args.lora, *([lora] if lora else [])]}
    if words:
        given = dict(vars(args), width=args.width or args.size, height=args.height or args.size)
        prompts = [apply(style, given | {"prompt": prompt})["prompt"] for prompt in args.prompt or [""]]
        names = [*style.said, "negative_prompt"]
        whole = apply(style, {name: given[name] for name in names})
        found |= {name: whole[name] for name in names} | {"prompt": prompts}
    return argparse.Namespace(**(vars(args) | found)), origin_of(style)


def check_model(args: argparse.Namespace, studio: Studio) -> None:
    """UserError: the style is for models of another kind than the one that was opened."""
    if args.style is not None:
        from facefact.generate.styles import check_fits, find_style

        check_fits(find_style(args.style), model=args.model, pipe=studio.pipe)

"""`facefact styles`: what styles there are, the user's own, and a picture of each, drawn by the model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.apps import options
from facefact.apps.portraits import open_studio
from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.generate.style_file import Style


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("styles", help="list, add and preview styles")
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="ours, and those in $FACEFACT_HOME/styles")
    listing.add_argument("--json", action="store_true", help="print them as JSON")
    add = actions.add_parser("add", help="copy a style's file, its preview and its LoRA among your own styles")
    add.add_argument("file", type=Path, metavar="FILE", help="a style (.yaml, .json); FaceChain's are read too")
    add.add_argument("--name", help="what to call it (default: as it says)")
    add.add_argument("--lora", type=Path, metavar="FILE", help="where its LoRA lies (default: beside it)")
    add.add_argument("--overwrite", action="store_true", help="replace one of your own of the same name")
    preview = actions.add_parser("preview", help="draw a picture of each style with the model")
    preview.add_argument("names", nargs="*", metavar="NAME", help="which (default: all that fit the model)")
    preview.add_argument(
        "--face",
        type=Path,
        action="append",
        default=[],
        metavar="PICTURE",
        help="whose portrait; again for more photos of one person (default: an avatar that the model has never seen)",
    )
    preview.add_argument("--seed", type=int, default=3, help="of every picture (default 3)")
    preview.add_argument("--steps", type=int, help="denoising steps, also where a style says another number")
    preview.add_argument("--size", type=int, help="width and height (default: what the model is made for)")
    preview.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where to (default: $FACEFACT_HOME/styles/previews, which galleries show)",
    )
    preview.add_argument(
        "--format", choices=("png", "webp"), default="png", help="webp: small and lossy (default: png)"
    )
    options.add_model(preview)
    preview.add_argument("--yunet", type=Path, metavar="FILE.onnx", help="find faces with this YuNet model")
    preview.set_defaults(control_model=None, exact_prompt=False, strict_licences=False)


def run(args: argparse.Namespace) -> int:
    return {"list": _list, "add": _add, "preview": _preview}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from facefact.generate.styles import preview_of, styles

    found = styles()
    if args.json:
        rows = [asdict(one) | {"path": str(one.path), "preview": str(preview_of(one) or "") or None} for one in found]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        print("\n".join(map(_line, found)))
    return 0


def _line(style: Style) -> str:
    lora = f"  [LoRA {style.lora.file}, {style.lora.weight:g}]" if style.lora else ""
    licence = style.licence or "licence not stated"
    return f"{style.name:<20} {style.family:<6} {licence:<20} {style.prompt or style.title}{lora}"


def _add(args: argparse.Namespace) -> int:
    from facefact.generate.styles import add_style

    added = add_style(args.file, name=args.name, lora=args.lora, overwrite=args.overwrite)
    print(f"{_line(added)}\nuse it: facefact generate --style {added.name} ...")
    return 0


def _preview(args: argparse.Namespace) -> int:
    from facefact.generate.styles import PREVIEWS, lora_of, save_preview, styles_dir

    out = args.out or styles_dir() / PREVIEWS
    by_lora: dict[str | None, list[Style]] = {}
    for style in _wanted(args):
        by_lora.setdefault(lora_of(style), []).append(style)
    for lora, alike in by_lora.items():  # (a LoRA is the model's: those that have one open it again)
        for style, portrait in zip(alike, _portraits(args, alike, lora), strict=True):
            path = out / f"{style.name}.{args.format}"
            save_preview(portrait, path)
            print(path)
    return 0


def _wanted(args: argparse.Namespace) -> list[Style]:
    """UserError: one that was named does not fit the model, or none does."""
    from facefact.generate.styles import check_fits, find_style, styles

    if args.names:
        named = [find_style(name) for name in args.names]
        for style in named:
            check_fits(style, model=args.model)
        return named
    fitting = []
    for style in styles():
        try:
            check_fits(style, model=args.model)
        except UserError:
            continue
        fitting.append(style)
    return fitting


def _portraits(args: argparse.Namespace, alike: Sequence[Style], lora: str | None) -> Any:
    """One for each of the styles, which have the same LoRA."""
    from facefact.generate import Settings
    from facefact.generate.demo_model import settings_for
    from facefact.generate.styles import apply, check_fits, origin_of

    studio = open_studio(argparse.Namespace(**(vars(args) | {"lora": [*args.lora, *([lora] if lora else [])]})))
    for style in alike:
        check_fits(style, model=args.model, pipe=studio.pipe)
    said = {"seed": args.seed, "steps": args.steps, "width": args.size, "height": args.size}
    settings = [settings_for(args.model, Settings, **apply(style, said)) for style in alike]
    tokens, origin = _person(args, studio)
    return studio.text_to_images(tokens, settings, origin=[origin | origin_of(style) for style in alike])


def _person(args: argparse.Namespace, studio: Any) -> tuple[Any, dict[str, Any]]:
    """Tokens, and what the recipe says of them."""
    if args.face:
        person = studio.find_person(args.face)
        return studio.tokens(person), person.origin
    from facefact.faces import face_crop_from
    from facefact.world import first_held_out, look, person, render

    drawn = render(person(first_held_out(0)), look(first_held_out(0), expression="neutral", glasses="none", hat="none"))
    return studio.adapter.encode([face_crop_from(drawn.image, landmarks=drawn.landmarks, head=drawn.head)]), {}

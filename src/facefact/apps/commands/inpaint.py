"""`facefact inpaint`: one face of a template picture becomes another person's."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.apps import portraits
from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.faces import Detector
    from facefact.generate import Template
    from facefact.types import Face, Portrait

EXAMPLE = 'facefact inpaint --face me.jpg --template group.png --which 2 --prompt "a smiling person"'


def add_parser(subparsers: Any) -> None:
    line = "put a person's face into a template picture"
    more = "Every pixel outside the blended region stays as it was."
    parser = subparsers.add_parser("inpaint", help=line, description=f"{line}. {more} Example: {EXAMPLE}")
    portraits.add_options(parser)
    parser.add_argument("--template", type=Path, required=True, metavar="PICTURE", help="the picture to work on")
    parser.add_argument(
        "--which", type=int, default=0, help="which face of the template, by size: 0 is the largest (default 0)"
    )
    parser.add_argument("--face-which", type=int, default=0, help="which face of a photo, by size (default 0)")
    parser.add_argument("--strength", type=float, help="how much of the template's face is forgotten (default 0.8)")


def run(args: argparse.Namespace) -> int:
    prompts = args.prompt or []
    portraits.check_prompts(prompts, model=args.model)

    from facefact.faces import get_detector
    from facefact.generate import InpaintSettings, file_hash, find_person, open_template
    from facefact.generate.demo_model import settings_for

    more = {"strength": args.strength, "width": args.size, "height": args.size}
    given = portraits.settings_given(args) | more
    settings = settings_for(args.model, InpaintSettings, prompt=prompts[0], **given)
    pictures = portraits.pictures_wanted(args, settings, prompts)
    template = open_template(args.template)
    if args.format == "jpeg" and template.alpha is not None:
        raise UserError(f"{args.template} has transparency, which a JPEG has not: --format png or webp")
    detector = get_detector(model=args.yunet)
    face = _template_face(args.template, template, detector, which=args.which)
    person = find_person(args.face, detector=detector, which=args.face_which, model=args.model)
    studio = portraits.open_studio(args)
    tokens = studio.adapter.encode(person.crops)
    origin = person.origin | {"template": file_hash(args.template), "template_which": args.which}

    def make(wanted: list[InpaintSettings], on_step: Callable[[], None]) -> Iterator[Portrait]:
        for one in wanted:
            yield studio.inpaint(tokens, one, template=template, face=face, origin=origin, on_step=on_step)

    steps = int(settings.steps * settings.strength)
    return portraits.make_and_print(args, pictures, make, steps=steps, origin=studio.origin | origin)


def _template_face(path: Path, template: Template, detector: Detector, *, which: int) -> Face:
    from facefact.faces import choose_face

    try:
        return choose_face(detector.detect(template.seen), which)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None

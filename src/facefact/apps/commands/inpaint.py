"""`facefact inpaint`: faces of a template picture, or of a folder of them, become other people's."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.apps import portraits
from facefact.types import UserError

if TYPE_CHECKING:
    import numpy as np

    from facefact.faces import Detector
    from facefact.generate import InpaintSettings, Studio, Template
    from facefact.types import Face, FaceTokens, Portrait

log = logging.getLogger("facefact")

EXAMPLE = 'facefact inpaint --face me.jpg --template group.png --which 2 --prompt "a smiling person"'


def add_parser(subparsers: Any) -> None:
    line = "put people's faces into a template picture"
    more = "Every pixel outside the blended regions stays as it was."
    parser = subparsers.add_parser("inpaint", help=line, description=f"{line}. {more} Example: {EXAMPLE}")
    portraits.add_options(parser, face_required=False)
    parser.add_argument(
        "--template",
        type=Path,
        required=True,
        metavar="PICTURE|DIR",
        help="the picture to work on, or a folder of them",
    )
    parser.add_argument(
        "--which", type=int, default=0, help="which face of the template, by size: 0 is the largest (default 0)"
    )
    parser.add_argument(
        "--put",
        action="append",
        default=[],
        metavar="N=PICTURE",
        help="this person in the place of the template's face N (numbered as --which, see `facefact faces`); repeat it "
        "for more faces, or for more photos of one person",
    )
    parser.add_argument("--face-which", type=int, default=0, help="which face of a photo, by size (default 0)")
    add_ways(parser)


def add_ways(parser: argparse.ArgumentParser) -> None:
    """How a face is replaced."""
    ways = parser.add_argument_group("the way")
    ways.add_argument(
        "--shape",
        choices=("template", "person"),
        help="repaint in place, or lay the person's own head in (default: the person's where a ControlNet "
        "gives the pose, else the template's)",
    )
    ways.add_argument(
        "--region",
        choices=("face", "hair", "head"),
        help="what is repainted: the face, face and hair, or the whole head (default: face; with --shape person: hair)",
    )
    ways.add_argument("--mask", type=Path, metavar="PICTURE", help="repaint where this picture is white, instead")
    ways.add_argument("--strength", type=float, help="how much of the template is forgotten there (default 0.8)")
    ways.add_argument(
        "--keep-skin", action="store_true", help="leave neck and ears as they are; else they follow the new face's skin"
    )
    ways.add_argument(
        "--free-expression",
        action="store_true",
        help="let the model decide on the expression that the prompt does not name; else the template's is kept",
    )
    ways.add_argument(
        "--control",
        choices=("pose", "canny", "depth"),
        help="what the ControlNet reads: drawn from the template; depth needs --control-image",
    )


def run(args: argparse.Namespace) -> int:
    prompts = args.prompt or []
    portraits.check_prompts(prompts, model=args.model)
    chosen = chosen_faces(args)

    from facefact.faces import get_detector
    from facefact.generate import InpaintSettings, file_hash, find_person
    from facefact.generate.demo_model import settings_for
    from facefact.generate.strangers import warn_of_strangers

    given = portraits.settings_given(args) | ways_given(args)
    settings = settings_for(args.model, InpaintSettings, prompt=prompts[0], **given)
    detector = get_detector(model=args.yunet)
    templates = found_templates(args, detector, chosen)
    pictures = {one.path: portraits.pictures_wanted(args, settings, prompts, name=one.name) for one in templates}
    people = {
        number: find_person(photos, detector=detector, which=args.face_which, model=args.model)
        for number, photos in chosen.items()
    }
    studio = portraits.open_studio(args, detector=detector)
    for number, person in people.items():
        warn_of_strangers(chosen[number], person.crops, encoder=studio.adapter.encoder)
    tokens = {number: studio.adapter.encode(person.crops) for number, person in people.items()}
    recipes: dict[Path, dict[str, Any]] = {}
    masked = {} if args.mask is None else {"mask": file_hash(args.mask)}
    put = {"put": {str(number): person.origin for number, person in people.items()}}
    for one in templates:
        origin = {"template": one.hash} | put | masked
        work = Work(studio, one, tokens, origin, args.control)
        recipes |= portraits.make_missing(
            args,
            {path: work.controlled(each) for path, each in pictures[one.path].items()},
            work.make,
            steps=settings.steps_taken * len(chosen),
            origin=studio.origin | origin,
        )
    portraits.print_made(args, recipes)
    return 0


def chosen_faces(args: argparse.Namespace) -> dict[int, list[Path]]:
    """Number of a face of the template -> photos of who takes its place. UserError: none, or not as the options are
    meant."""
    if bool(args.face) == bool(args.put):
        raise UserError("say who is to be seen: --face PICTURE for one face, or --put N=PICTURE for each of several")
    if args.face:
        return {args.which: args.face}
    chosen: dict[int, list[Path]] = {}
    for text in args.put:
        number, equals, photo = text.partition("=")
        if not equals or not number.isdecimal() or not photo:
            raise UserError(f"--put {text}: write N=PICTURE, N the number of a face as `facefact faces` counts them")
        chosen.setdefault(int(number), []).append(Path(photo))
    return chosen


def ways_given(args: argparse.Namespace) -> dict[str, Any]:
    """Of the settings of inpainting what the options say."""
    if args.control and not args.control_model:
        raise UserError(f"--control {args.control} needs a ControlNet that reads it: --control-model DIR")
    if args.control == "depth" and args.control_image is None:
        from facefact.generate.control import NO_DEPTH

        raise UserError(NO_DEPTH)
    if args.control_model and not args.control and args.control_image is None:
        raise UserError("say what the ControlNet reads: --control pose or canny, or --control-image PICTURE")
    return {
        "strength": args.strength,
        "width": args.size,
        "height": args.size,
        "shape": args.shape or ("person" if args.control_model else None),
        "region": args.region,
        "skin": False if args.keep_skin else None,
        "keep_expression": False if args.free_expression else None,
    }


@dataclass(frozen=True)
class Found:
    """A template with the faces that are to be replaced. name: how the results' names begin."""

    path: Path
    name: str
    hash: str
    template: Template
    faces: dict[int, Face]
    every_face: list[Face]
    mask: np.ndarray | None


def found_templates(args: argparse.Namespace, detector: Detector, chosen: dict[int, list[Path]]) -> list[Found]:
    """The template, or those of the folder that can be used; of the others the log says why not. UserError: none
    can."""
    from facefact.faces.files import pictures_below

    if not args.template.is_dir():
        return [found_template(args, args.template, detector, chosen, name="portrait")]
    paths = pictures_below(args.template)
    found = []
    for path in paths:
        name = "-".join(path.relative_to(args.template).with_suffix("").parts)
        try:
            found.append(found_template(args, path, detector, chosen, name=name))
        except UserError as error:
            log.warning("left out: %s", error)
    if not found:
        raise UserError(f"{args.template}: none of the {len(paths)} pictures in this folder can be a template")
    return found


def found_template(
    args: argparse.Namespace, path: Path, detector: Detector, chosen: dict[int, list[Path]], *, name: str
) -> Found:
    from facefact.faces import choose_face
    from facefact.faces.choice import checked_face
    from facefact.generate import file_hash, open_template

    template = open_template(path)
    if args.format == "jpeg" and template.alpha is not None:
        raise UserError(f"{path} has transparency, which a JPEG has not: --format png or webp")
    mask = _mask(args.mask)
    if mask is not None and mask.shape != template.seen.shape[:2]:
        sizes = [f"{shape[1]} x {shape[0]}" for shape in (template.seen.shape, mask.shape)]
        raise UserError(f"{path} is {sizes[0]} and the mask {sizes[1]}: they must have the same size")
    every = detector.detect(template.seen)
    pick = choose_face if args.face else checked_face
    try:
        faces = {number: pick(every, number) for number in chosen}
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Found(path, name, file_hash(path), template, faces, every, mask)


def _mask(path: Path | None) -> np.ndarray | None:
    """(h, w) bool: where the picture is rather white than black."""
    if path is None:
        return None
    from facefact.faces import open_picture

    return open_picture(path, max_side=1 << 30).mean(2) > 127.5


@dataclass(frozen=True)
class Work:
    """One template, and who is put into it."""

    studio: Studio
    found: Found
    tokens: dict[int, FaceTokens]
    origin: dict[str, Any]
    control: Any

    def controlled(self, settings: InpaintSettings) -> InpaintSettings:
        """With the control image that is drawn from the template, unless one was given."""
        from facefact.generate.control import control_image

        if self.control is None or settings.control_image is not None:
            return settings
        return replace(
            settings, control_image=control_image(self.control, self.found.template.seen, self.found.every_face)
        )

    def make(self, wanted: list[InpaintSettings], on_step: Callable[[], None]) -> Iterator[Portrait]:
        people = [(face, self.tokens[number]) for number, face in self.found.faces.items()]
        for one in wanted:
            yield self.studio.inpaint_faces(
                people,
                one,
                template=self.found.template,
                mask=self.found.mask,
                origin=self.origin,
                on_step=on_step,
            )

"""`facefact group`: several people in one picture, in one denoising run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.apps import options, portraits
from facefact.types import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from facefact.faces import Detector
    from facefact.generate import GroupSettings, InTemplate, Person
    from facefact.types import Portrait

EXAMPLE = 'facefact group --put "0,0,0.5,1=me.jpg" --put "0.5,0,1,1=ada.jpg" --prompt "two people at the beach"'
PUT = (
    "who is where: BOX=PHOTO, a box being left,top,right,bottom in shares of the picture; N=PHOTO, the region N of "
    "--layout (0 is the leftmost) or the face N of --template (0 is the largest, see `facefact faces`); or PHOTO "
    "alone, for all people: they are found, from left to right. Repeat it for each person, and for more photos of one; "
    "an identity card may stand for a photo"
)


def add_parser(subparsers: Any) -> None:
    line = "several people in one picture"
    parser = subparsers.add_parser("group", help=line, description=f"{line.capitalize()}. Example: {EXAMPLE}")
    people = parser.add_argument_group("the people")
    people.add_argument("--put", action="append", required=True, metavar="[PLACE=]PHOTO", help=PUT)
    people.add_argument(
        "--words",
        action="append",
        default=[],
        metavar="PLACE=TEXT",
        help="a prompt for one person, which is read in their place instead of --prompt; PLACE as in their --put",
    )
    people.add_argument("--layout", type=Path, metavar="PICTURE", help="a colour for each person's region, on black")
    people.add_argument("--template", type=Path, metavar="PICTURE", help="put the people into this picture's faces")
    people.add_argument("--head", action="store_true", help="with --template: hair and hats are repainted too")
    people.add_argument("--strength", type=float, help="how much of the template's faces is forgotten (default 0.8)")
    people.add_argument("--face-which", type=int, default=0, help="which face of a photo, by size (default 0)")
    options.add_face(people)
    options.add_picture(parser)
    parser.add_argument("--width", type=int, help="as --size, the width alone")
    parser.add_argument("--height", type=int, help="as --size, the height alone")
    options.add_model(parser)
    options.add_output(parser)
    options.add_provenance(parser)


@dataclass
class Put:
    """One person: the place as it was typed ("" where they are found), the photos, the words."""

    place: str
    photos: list[Path] = field(default_factory=list)
    words: str = ""


def run(args: argparse.Namespace) -> int:
    prompts = args.prompt or []
    people = people_asked_for(args)
    said = [one.words for one in people if one.words]
    portraits.check_prompts([*prompts, *said] if prompts else [], model=args.model)

    from facefact.adapter import Region
    from facefact.faces import get_detector
    from facefact.generate import find_person
    from facefact.generate.groups import STRENGTH

    detector = get_detector(model=args.yunet)
    masks, place = places_of(args, people, detector)
    settings = settings_of(args, people, masks)
    pictures = portraits.pictures_wanted(args, settings, prompts)
    found = [find_person(one.photos, detector=detector, which=args.face_which, model=args.model) for one in people]
    studio = portraits.open_studio(args)
    regions = [Region(mask, studio.tokens(person)) for mask, person in zip(masks, found, strict=True)]
    origin = origin_of(args, people, found)

    def make(wanted: list[GroupSettings], on_step: Callable[[], None]) -> Iterator[Portrait]:
        for one in wanted:
            yield studio.group(regions, one, place=place, origin=origin, on_step=on_step)

    steps = settings.steps if place is None else int(settings.steps * (settings.strength or STRENGTH))
    photos = [photo for one in people for photo in one.photos]
    inputs: dict[str, Any] = {"template": args.template, "photos": photos}
    return portraits.make_and_print(args, pictures, make, steps=steps, origin=studio.origin | origin, **inputs)


def people_asked_for(args: argparse.Namespace) -> list[Put]:
    """Each person once, in the order of the options. UserError: places that do not fit together, words of nobody."""
    if args.layout and args.template:
        raise UserError("--layout and --template both say where people are: choose one")
    if not args.template and (args.head or args.strength is not None):
        raise UserError("--head and --strength are about a --template")
    people: dict[str, Put] = {}
    for i, text in enumerate(args.put):
        place, photo = _divided(text)
        key = place or f"found {i}"
        people.setdefault(key, Put(place)).photos.append(Path(photo))
    for text in args.words:
        place, equals, words = text.partition("=")
        if not equals or place not in people:
            raise UserError(f"--words {text!r}: say PLACE=TEXT, with a place of one of the --put")
        people[place].words = words
    if len({bool(one.place) for one in people.values()}) > 1:
        raise UserError("some of the --put have a place and others none: say where all are, or where nobody is")
    return list(people.values())


def _divided(text: str) -> tuple[str, str]:
    """PLACE=PHOTO -> both; a photo alone has the place "". (A file's own name may hold an equals sign.)"""
    place, equals, photo = text.partition("=")
    numbers = place.replace(" ", "").replace(",", "").replace(".", "")
    return (place.replace(" ", ""), photo) if equals and numbers.isdigit() else ("", text)


def places_of(
    args: argparse.Namespace, people: list[Put], detector: Detector
) -> tuple[list[Tensor | None], InTemplate | None]:
    """Each person's mask, None where they are found; and the template, if there is one."""
    from facefact.faces import open_picture
    from facefact.generate.places import box_mask, layout_masks, parse_box

    if args.template:
        return _in_template(args, people, detector)
    if args.layout:
        masks = layout_masks(open_picture(args.layout))
        return [masks[_number(one, len(masks), args.layout, "regions")] for one in people], None
    return [box_mask(parse_box(one.place)) if one.place else None for one in people], None


def _in_template(
    args: argparse.Namespace, people: list[Put], detector: Detector
) -> tuple[list[Tensor | None], InTemplate]:
    import numpy as np

    from facefact.generate import InTemplate, open_template
    from facefact.generate.places import face_masks, nearest_masks, soft_edge

    template = open_template(args.template)
    if args.format == "jpeg" and template.alpha is not None:
        raise UserError(f"{args.template} has transparency, which a JPEG has not: --format png or webp")
    faces = detector.detect(template.seen)
    chosen = [faces[_number(one, len(faces), args.template, "faces")] for one in people]
    heads = [detector.head_mask(template.seen, face) for face in chosen] if args.head else None
    masks = face_masks(chosen, template.seen.shape, heads=heads)
    weights = [soft_edge(mask, face) for mask, face in zip(masks, chosen, strict=True)]
    reading = nearest_masks(chosen, template.seen.shape)
    return list(masks), InTemplate(template, np.max(weights, axis=0), reading)


def _number(one: Put, count: int, picture: Path, what: str) -> int:
    """UserError: the place is no number of a region or face that is there."""
    if not one.place.isdecimal() or int(one.place) >= count:
        raise UserError(f"--put {one.place}={one.photos[0]}: {picture} has {count} {what}, numbered from 0")
    return int(one.place)


def settings_of(args: argparse.Namespace, people: list[Put], masks: list[Tensor | None]) -> GroupSettings:
    """The settings of the first picture. People without a place are found by local mode."""
    from facefact.generate import GroupSettings
    from facefact.generate.demo_model import settings_for

    given = {name: getattr(args, name) for name in portraits.FACE_SETTINGS}
    size = {"width": args.width or args.size, "height": args.height or args.size}
    words = [one.words for one in people] if any(one.words for one in people) else []
    local = True if any(mask is None for mask in masks) else args.local
    more = {"words": words, "strength": args.strength, "local": local}
    prompt = (args.prompt or [""])[0]
    return settings_for(args.model, GroupSettings, prompt=prompt, **(given | size | more))


def origin_of(args: argparse.Namespace, people: list[Put], found: list[Person]) -> dict[str, Any]:
    """What the recipe says of the people and of the picture that they are put into."""
    from facefact.generate import file_hash

    who = [{"place": one.place or "found"} | person.origin for one, person in zip(people, found, strict=True)]
    pictures = {name: getattr(args, name) for name in ("layout", "template")}
    hashes = {name: file_hash(path) for name, path in pictures.items() if path is not None}
    return {"people": who} | hashes | ({"head": True} if args.head else {})

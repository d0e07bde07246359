"""`facefact group`: several people in one picture."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.apps import options, portraits
from facefact.apps.replay import recipe_to_replay, warn_of_differences, with_parts_of
from facefact.types import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from facefact.faces import Detector
    from facefact.generate import GroupSettings, InTemplate, Person
    from facefact.types import Portrait

GROUPS = ("group", "group in a template")
EXAMPLE = 'facefact group --put "0,0,0.5,1=me.jpg" --put "0.5,0,1,1=ada.jpg" --prompt "two people at the beach"'
PUT = (
    "who is where: BOX=PHOTO, a box being left,top,right,bottom in shares of the picture; N=PHOTO, the region N of "
    "--layout (0 is the leftmost) or the face N of --template (0 is the largest, see `facefact faces`); WORDS=PHOTO, "
    'words being left, middle, right, first, second ... or such as "the woman on the left", "second from the right"; '
    "or PHOTO alone, for all people: they stand from left to right. Repeat it for each person, and for more photos of "
    "one; an identity card may stand for a photo"
)
WAY = (
    "together: one run over the whole picture; squares: a square about each face, all in one batch; portraits: without "
    "a --template, each one's portrait laid into their place (default: squares in a template; else portraits with the "
    "demo model, and with others together, with squares for faces that came out small)"
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
    people.add_argument("--way", choices=("together", "squares", "portraits"), help=WAY)
    people.add_argument(
        "--batch",
        type=options.at_least_one,
        default=4,
        metavar="N",
        help="squares or portraits at a time: memory is that of as many pictures, whatever the number of people "
        "(default 4)",
    )
    people.add_argument("--face-which", type=int, default=0, help="which face of a photo, by size (default 0)")
    options.add_face(people)
    options.add_picture(parser)
    parser.add_argument("--width", type=int, help="as --size, the width alone")
    parser.add_argument("--height", type=int, help="as --size, the height alone")
    options.add_model(parser)
    options.add_control(parser)
    options.add_output(parser)
    options.add_provenance(parser)
    parser.set_defaults(model=None)  # the demo, unless a recipe names another
    parser.add_argument(
        "--recipe",
        type=Path,
        metavar="PICTURE",
        help="make this group again: its settings, words and model, unless others are given here; --put (and --layout "
        "or --template) as it was made",
    )


@dataclass
class Put:
    """One person: the place as it was typed ("" where they are found), the photos, the words."""

    place: str
    photos: list[Path] = field(default_factory=list)
    words: str = ""


def run(args: argparse.Namespace) -> int:
    recipe = recipe_to_replay(args.recipe, GROUPS) if args.recipe else {}
    args, given = with_parts_of(args, recipe)
    prompts = args.prompt or ([recipe["prompt"]] if recipe else [])
    people = people_asked_for(args, recipe)
    said = [one.words for one in people if one.words]
    portraits.check_prompts([*prompts, *said] if prompts else [], model=args.model)

    from facefact.adapter import Region
    from facefact.faces import get_detector
    from facefact.generate import find_person
    from facefact.generate.reopen import check_same

    detector = get_detector(model=args.yunet)
    people, masks, place = places_of(args, people, detector)
    settings = settings_of(args, people, masks, recipe)
    pictures = portraits.pictures_wanted(args, settings, prompts)
    found = [find_person(one.photos, detector=detector, which=args.face_which, model=args.model) for one in people]
    studio = portraits.open_studio(args, detector=detector)
    regions = [Region(mask, studio.tokens(person)) for mask, person in zip(masks, found, strict=True)]
    origin = origin_of(args, people, found)
    check_same(recipe, studio.origin, given=given)
    warn_of_differences(recipe, studio.origin | origin)

    def make(wanted: list[GroupSettings], on_step: Callable[[], None]) -> Iterator[Portrait]:
        for one in wanted:
            yield studio.group(regions, one, place=place, batch=args.batch, origin=origin, on_step=on_step)

    steps = steps_of(settings, len(people), args.batch, template=place is not None)
    photos = [photo for one in people for photo in one.photos]
    inputs: dict[str, Any] = {"template": args.template, "photos": photos}
    return portraits.make_and_print(args, pictures, make, steps=steps, origin=studio.origin | origin, **inputs)


def steps_of(settings: GroupSettings, people: int, batch: int, *, template: bool) -> int:
    """About how many denoising steps a picture takes."""
    from facefact.generate.groups import STRENGTH

    runs = 1 if settings.way == "together" else math.ceil(people / batch)
    return runs * (int(settings.steps * (settings.strength or STRENGTH)) if template else settings.steps)


def people_asked_for(args: argparse.Namespace, recipe: Mapping[str, Any]) -> list[Put]:
    """Each person once, in the order of the options; what a recipe says of them goes where nothing is said here.
    UserError: places that do not fit together, words of nobody, another number of people than the recipe's."""
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
        if not equals or _as_key(place) not in people:
            raise UserError(f"--words {text!r}: say PLACE=TEXT, with a place of one of the --put")
        people[_as_key(place)].words = words
    if len({bool(one.place) for one in people.values()}) > 1:
        raise UserError("some of the --put have a place and others none: say where all are, or where nobody is")
    found = list(people.values())
    if recipe:
        _as_recorded(args, found, recipe)
    return found


def _as_recorded(args: argparse.Namespace, people: list[Put], recipe: Mapping[str, Any]) -> None:
    """The words of a recipe, unless there are some. UserError: other people's number, or pictures that it lacks."""
    before = recipe.get("people", [])
    if len(before) != len(people):
        raise UserError(f"{args.recipe} shows {len(before)} people and --put names {len(people)}: as many, please")
    for option in ("layout", "template", "control_image"):
        if (option in recipe) != bool(getattr(args, option)):
            made, name = "with" if option in recipe else "without", option.replace("_", "-")
            raise UserError(f"{args.recipe} was made {made} a --{name}: it is to be given as it was then")
    if not args.words:
        for one, words in zip(people, recipe.get("words") or [""] * len(people), strict=True):
            one.words = words


def _divided(text: str) -> tuple[str, str]:
    """PLACE=PHOTO -> both; a photo alone has the place "". (A file's own name may hold an equals sign.) UserError:
    words that name no place."""
    place, equals, photo = text.partition("=")
    if not equals or Path(text).exists():
        return "", text
    key = _as_key(place)
    if not key.replace(",", "").replace(".", "").isdigit():
        from facefact.generate.places import check_spoken

        check_spoken(key)
    return key, photo


def _as_key(place: str) -> str:
    """The same place is the same text, however it is typed."""
    numbers = place.replace(" ", "")
    return numbers if numbers.replace(",", "").replace(".", "").isdigit() else " ".join(place.lower().split())


def places_of(
    args: argparse.Namespace, people: list[Put], detector: Detector
) -> tuple[list[Put], list[Tensor | None], InTemplate | None]:
    """The people, each one's mask, None where they are found, and the template, if there is one. Without any of
    template, layout and boxes the people are put into the order from left to right."""
    from facefact.faces import open_picture
    from facefact.generate.places import box_mask, layout_masks, parse_box

    if args.template:
        return (people, *_in_template(args, people, detector))
    if args.layout:
        masks = layout_masks(open_picture(args.layout))
        order = range(len(masks))
        return people, [masks[i] for i in _numbers(people, order, order, args.layout, "regions")], None
    if any(_spoken(one) for one in people):
        order = range(len(people))
        numbers = _numbers(people, order, order, "the picture", "people")
        return [people[numbers.index(i)] for i in order], [None] * len(people), None
    return people, [box_mask(parse_box(one.place)) if one.place else None for one in people], None


def _in_template(
    args: argparse.Namespace, people: list[Put], detector: Detector
) -> tuple[list[Tensor | None], InTemplate]:
    import numpy as np

    from facefact.generate import InTemplate, open_template
    from facefact.generate.places import face_masks, left_to_right, nearest_masks, soft_edge

    template = open_template(args.template)
    if args.format == "jpeg" and template.alpha is not None:
        raise UserError(f"{args.template} has transparency, which a JPEG has not: --format png or webp")
    faces = detector.detect(template.seen)
    order = sorted(range(len(faces)), key=lambda i: left_to_right(faces).index(faces[i]))
    if all(not one.place for one in people) and len(people) <= len(faces):
        numbers = order[: len(people)]
    else:
        numbers = _numbers(people, range(len(faces)), order, args.template, "faces")
    chosen = [faces[i] for i in numbers]
    heads = [detector.head_mask(template.seen, face) for face in chosen] if args.head else None
    masks = face_masks(chosen, template.seen.shape, heads=heads)
    weights = [soft_edge(mask, face) for mask, face in zip(masks, chosen, strict=True)]
    reading = nearest_masks(chosen, template.seen.shape)
    return list(masks), InTemplate(
        template, np.max(weights, axis=0), reading, chosen, region="head" if args.head else "face"
    )


def _spoken(one: Put) -> bool:
    from facefact.generate.places import is_spoken

    return is_spoken(one.place)


def _numbers(
    people: list[Put], numbered: Sequence[int], from_left: Sequence[int], picture: Path | str, what: str
) -> list[int]:
    """Of each person the number of a region or face. numbered: those that numbers name; from_left: those that words
    name, from left to right. UserError: it is not there, or somebody else's too."""
    from facefact.generate.places import spoken_place

    found: list[int] = []
    for one in people:
        if _spoken(one):
            try:
                number = from_left[spoken_place(one.place, len(from_left))]
            except UserError as error:
                raise UserError(f"--put {one.place}={one.photos[0]}: {picture}: {error}") from None
        elif one.place.isdecimal() and int(one.place) < len(numbered):
            number = numbered[int(one.place)]
        else:
            raise UserError(f"--put {one.place}={one.photos[0]}: {picture} has {len(numbered)} {what}, numbered from 0")
        if number in found:
            other = people[found.index(number)]
            raise UserError(f"--put {other.place!r} and {one.place!r} are the same of the {what} of {picture}")
        found.append(number)
    return found


def settings_of(
    args: argparse.Namespace, people: list[Put], masks: list[Tensor | None], recipe: Mapping[str, Any]
) -> GroupSettings:
    """The settings of the first picture, from the options, else from the recipe. People without a place are found by
    local mode, where all are drawn in one run."""
    from facefact.generate import GroupSettings
    from facefact.generate.demo_model import settings_for

    given = portraits.settings_given(args) | {
        "width": args.width or args.size,
        "height": args.height or args.size,
        "strength": args.strength,
        "way": args.way or (recipe.get("way", "together") if recipe else None),
    }
    given = {name: recipe.get(name) if value is None else value for name, value in given.items()}
    words = [one.words for one in people] if any(one.words for one in people) else []
    prompt = (args.prompt or [recipe.get("prompt", "")])[0]
    settings = settings_for(args.model, GroupSettings, prompt=prompt, words=words, **given)
    found = any(mask is None for mask in masks)
    return replace(settings, local=True) if found and draws_wide(settings, args.model) else settings


def draws_wide(settings: GroupSettings, model: str) -> bool:
    """Whether, without a template, the first thing is one run over the whole picture."""
    from facefact.demo import DEMO

    return settings.way in ("together", "squares") or (settings.way is None and model != DEMO)


def origin_of(args: argparse.Namespace, people: list[Put], found: list[Person]) -> dict[str, Any]:
    """What the recipe says of the people and of the picture that they are put into."""
    from facefact.generate import file_hash

    who = [{"place": one.place or "found"} | person.origin for one, person in zip(people, found, strict=True)]
    pictures = {name: getattr(args, name) for name in ("layout", "template")}
    hashes = {name: file_hash(path) for name, path in pictures.items() if path is not None}
    return {"people": who} | hashes | ({"head": True} if args.head else {})

"""Template and group jobs, made ready: photos and settings -> what paints picture number k."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from facefact.adapter import Region
from facefact.apps.service.photos import Photos, number_of, tokens_of
from facefact.apps.service.records import Job
from facefact.apps.service.wishes import settings_of
from facefact.faces import checked_face, choose_face, open_picture
from facefact.generate import GroupSettings, InpaintSettings, InTemplate, Settings, Studio, file_hash, open_template
from facefact.generate.group_squares import BATCH
from facefact.generate.groups import STRENGTH
from facefact.generate.places import box_mask, face_masks, layout_masks, nearest_masks, parse_box, soft_edge
from facefact.types import Portrait, UserError

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Scene:
    """paint: (number of the picture, what to call after each step) -> the picture. steps: of one picture."""

    paint: Callable[[int, Callable[[], None]], Portrait]
    steps: int


def numbered(settings: S, k: int) -> S:
    """Those of picture number k: the seed follows."""
    return replace(settings, seed=settings.seed + k)


def template_scene(studio: Studio, job: Job, photos: Photos) -> Scene:
    """Faces of the template become the people's: "face" is who takes the place of face `which`, "put.N" of face N."""
    path = photos.one("template")
    if path is None:
        raise UserError("there is no template: send the picture that the people are put into")
    template, given = open_template(path), job.settings
    every = studio.detector.detect(template.seen)
    people = {}
    for role, files in photos.people.items():
        pick, number = (choose_face, given.get("which") or 0) if role == "face" else (checked_face, number_of(role))
        people[role] = (pick(every, number), studio.find_person(files, which=given.get("face_which") or 0), number)
    settings = settings_of(studio, InpaintSettings, given)
    mask = photos.one("mask")
    where = None if mask is None else open_picture(mask, max_side=1 << 30).mean(2) > 127.5
    origin = {
        "template": file_hash(path),
        "put": {str(number): person.origin for _, person, number in people.values()},
    }
    replaced = [(face, tokens_of(studio, person)) for face, person, _ in people.values()]
    more: dict[str, Any] = {
        "template": template,
        "mask": where,
        "origin": origin,
        "exact_prompt": bool(given.get("exact_prompt")),
    }

    def paint(k: int, on_step: Callable[[], None]) -> Portrait:
        own = numbered(settings, k)
        return studio.inpaint_faces(replaced, own, **more, on_step=on_step)

    return Scene(paint, settings.steps_taken * len(replaced))


def group_scene(studio: Studio, job: Job, photos: Photos) -> Scene:
    """Several people in one picture: "put.N", each with a place in `places` ("0.1,0.2,0.5,1", or the number of a face
    of the template or of a region of the layout), or none with any: then they are found, from left to right."""
    given, people = job.settings, photos.people
    places = {role: str(place) for role, place in (given.get("places") or {}).items()}
    if unknown := sorted(places.keys() - people.keys()):
        raise UserError(f"a place for {unknown[0]}, of whom there is no photo")
    if places and len(places) < len(people):
        raise UserError("some people have a place and others none: say where all are, or where nobody is")
    masks, place = _places(studio, photos, list(people), places, head=bool(given.get("head")))
    local = True if any(mask is None for mask in masks) else None
    settings = settings_of(studio, GroupSettings, given, **({"local": True} if local else {}))
    found = [studio.find_person(files, which=given.get("face_which") or 0) for files in people.values()]
    regions = [Region(mask, tokens_of(studio, person)) for mask, person in zip(masks, found, strict=True)]
    who = [{"place": places.get(role, "found")} | person.origin for role, person in zip(people, found, strict=True)]
    sent = {name: path for name in ("layout", "template") if (path := photos.one(name)) is not None}
    origin: dict[str, Any] = {"people": who} | {name: file_hash(path) for name, path in sent.items()}

    more: dict[str, Any] = {"place": place, "origin": origin, "exact_prompt": bool(given.get("exact_prompt"))}

    def paint(k: int, on_step: Callable[[], None]) -> Portrait:
        return studio.group(regions, numbered(settings, k), **more, on_step=on_step)

    if place is None:
        return Scene(paint, settings.steps)
    return Scene(paint, int(settings.steps * (settings.strength or STRENGTH)) * math.ceil(len(people) / BATCH))


def _places(
    studio: Studio, photos: Photos, roles: list[str], places: dict[str, str], *, head: bool
) -> tuple[list[Any], InTemplate | None]:
    """Each person's mask, (h, w) or None where they are found; and the template, if there is one."""
    template, layout = photos.one("template"), photos.one("layout")
    if template is not None and layout is not None:
        raise UserError("layout and template both say where people are: send one of them")
    if (template is not None or layout is not None) and not places:
        raise UserError("say which face or region is whose: places, such as {'put.0': 0}")
    if layout is not None:
        masks = layout_masks(open_picture(layout))
        return [masks[_number(places[role], len(masks), "regions")] for role in roles], None
    if template is None:
        return [box_mask(parse_box(places[role])) if places else None for role in roles], None
    opened = open_template(template)
    faces = studio.detector.detect(opened.seen)
    chosen = [faces[_number(places[role], len(faces), "faces")] for role in roles]
    heads = [studio.detector.head_mask(opened.seen, face) for face in chosen] if head else None
    inside = face_masks(chosen, opened.seen.shape, heads=heads)
    weight = np.max([soft_edge(mask, face) for mask, face in zip(inside, chosen, strict=True)], axis=0)
    reading = nearest_masks(chosen, opened.seen.shape)
    return list(inside), InTemplate(opened, weight, reading, chosen, region="head" if head else "face")


def _number(place: str, count: int, what: str) -> int:
    if not place.isdecimal() or int(place) >= count:
        raise UserError(f"the place {place!r}: there are {count} {what}, numbered from 0")
    return int(place)

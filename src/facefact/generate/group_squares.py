"""Groups person by person: each one's square of the picture is one of a batch, so all are drawn in one denoising run.

A model draws best what it learned: one person in a square. In a template the squares lie about its faces; over a wide
picture that was drawn in one run, about the faces that are found in it; and where a model makes no wide pictures at
all, each person's portrait is drawn for itself and laid into their place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facefact.adapter import Region
from facefact.faces import Detector
from facefact.generate.groups import KINDS, STRENGTH, GroupSettings, InTemplate, paint_group
from facefact.generate.inpaint import InpaintSettings, Replacement, inpaint_faces
from facefact.generate.models import native_size
from facefact.generate.places import column_masks
from facefact.generate.template import Template
from facefact.generate.text_to_image import Settings, make_recipe, picture_size, text_to_images
from facefact.types import Face, Portrait, UserError

if TYPE_CHECKING:
    from facefact.face_adapter import FaceAdapter

log = logging.getLogger("facefact")

BATCH = 4  # squares at a time: memory is that of as many pictures, whatever the number of people
SMALL = 0.25  # of the model's own size: smaller faces of a wide picture are drawn anew
APART = 7919  # between the seeds of two people in one picture: noise of their own
SOFT = 0.03  # of a place's width: the blend between two portraits (a Gaussian's sigma)


def seed_of(settings: Settings, i: int) -> int:
    """Of the person i of a picture; the first one's is the picture's own."""
    return (settings.seed + APART * i) % 2**63


def squares_in_template(
    pipe: Any,
    adapter: FaceAdapter,
    people: Sequence[Region],
    settings: GroupSettings,
    *,
    place: InTemplate,
    square: InpaintSettings,
    detector: Detector | None,
    more: Sequence[str] = (),
    batch: int = BATCH,
    origin: Mapping[str, Any] | None = None,
    on_step: Callable[[], None] | None = None,
) -> Portrait:
    """A template's faces become the people, whose squares are drawn up to `batch` at a time. place: with the faces, one
    for each of the people. square: what a square is like (context, centre, skin); all else is of the group's settings.
    UserErrors as `inpaint_faces`, and words for another number of people."""
    if len(place.faces) != len(people):
        raise UserError(f"{len(people)} people for {len(place.faces)} faces of the template: one each")
    told = prompts_of(settings, len(people))
    settings = replace(settings, strength=settings.strength or STRENGTH, way="squares")
    found = [
        Replacement(face, one.tokens, words, prompt=prompt, seed=seed_of(settings, i), scale=one.scale)
        for i, (face, one, prompt, words) in enumerate(
            zip(place.faces, people, told, more or [""] * len(people), strict=True)
        )
    ]
    inside = as_square(settings, square, region=place.region)
    made = inpaint_faces(
        pipe, adapter, found, inside, template=place.template, detector=detector, batch=batch, on_step=on_step
    )
    size = (made.recipe["width"], made.recipe["height"])
    recipe = make_recipe(pipe, settings, kind=KINDS[True], size=size, origin=origin)
    return Portrait(made.image, recipe | {"windows": made.recipe["windows"]})


def squares_over(
    pipe: Any,
    adapter: FaceAdapter,
    people: Sequence[Region],
    settings: GroupSettings,
    *,
    square: InpaintSettings,
    detector: Detector,
    batch: int = BATCH,
    origin: Mapping[str, Any] | None = None,
    on_step: Callable[[], None] | None = None,
) -> Portrait:
    """The wide picture in one run, then the square about each face that was found in it. Where nobody asked for squares
    (the way is None) only if some face is small, and everybody has one.

    UserError: somebody's face is not found in their place."""
    if settings.strength is not None:
        raise UserError("the strength says how much of a template is forgotten, and there is none")
    asked = settings.way == "squares"
    draft = paint_group(pipe, adapter, people, replace(settings, way="together"), origin=origin, on_step=on_step)
    pixels = np.asarray(draft.image.convert("RGB"))
    faces = assigned(detector.detect(pixels), [one.mask for one in people], pixels.shape)
    missing = [i for i, face in enumerate(faces) if face is None]
    if missing and asked:
        raise UserError(
            f"the wide picture (seed {settings.seed}) shows no face in the place of person {missing[0] + 1} of "
            f"{len(people)}: try another --seed, a larger place, or --way portraits"
        )
    found, searched = [face for face in faces if face is not None], any(one.mask is None for one in people)
    small = min((face.longer_side for face in found), default=0.0) < SMALL * native_size(pipe)
    if not asked and (missing or not small):
        return draft
    if not asked:
        log.info("faces smaller than a quarter of the model's own size are drawn anew, each in a square of its own")
    place = InTemplate(Template(pixels, None, pixels), np.zeros(pixels.shape[:2], np.float32), [], found)
    made = squares_in_template(
        pipe,
        adapter,
        people,
        replace(settings, width=None, height=None, local=settings.local and not searched),
        place=place,
        square=square,
        detector=detector,
        batch=batch,
        on_step=on_step,
    )
    return Portrait(made.image, draft.recipe | {"way": "squares", "windows": made.recipe["windows"]})


def portraits_joined(
    pipe: Any,
    adapter: FaceAdapter,
    people: Sequence[Region],
    settings: GroupSettings,
    *,
    batch: int = BATCH,
    origin: Mapping[str, Any] | None = None,
    on_step: Callable[[], None] | None = None,
) -> Portrait:
    """Each person's portrait at the model's own size, up to `batch` at a time, laid into their place, with soft edges
    where places meet. People without a place stand side by side. What is in nobody's place is the wide picture's, drawn
    in one run. Where nobody says how large the picture is, it has room for the portraits (`room_for`).

    UserErrors as `text_to_images`; and words of another number of people."""
    if settings.control_image is not None:
        raise UserError("a control image is of the whole picture, and portraits are drawn alone: --way together")
    if settings.strength is not None:
        raise UserError("the strength says how much of a template is forgotten, and there is none")
    masks = [one.mask for one in people if one.mask is not None]
    masks = column_masks(len(people)) if len(masks) < len(people) else masks
    if settings.width is None and settings.height is None:
        width, height = room_for(masks, native_size(pipe), unit=int(pipe.vae_scale_factor))
        settings = replace(settings, width=width, height=height)
    size = picture_size(pipe, settings)
    told = prompts_of(settings, len(people))
    scales = [settings.scale * one.scale for one in people]
    own = [
        plain(settings, prompt=prompt, seed=seed_of(settings, i), scale=scale, width=None, height=None)
        for i, (prompt, scale) in enumerate(zip(told, scales, strict=True))
    ]
    tokens = [one.tokens for one in people]
    made = [
        np.asarray(each.image.convert("RGB"))
        for each in text_to_images(pipe, adapter, tokens, own, batch=batch, on_step=on_step)
    ]
    weights = [_resized(mask, size) for mask in masks]
    behind = np.zeros((size[1], size[0], 3), np.uint8)
    if np.max(weights, axis=0).min() < 0.5:
        placed = [replace(one, mask=mask) for one, mask in zip(people, masks, strict=True)]
        wide = paint_group(pipe, adapter, placed, replace(settings, way="together"), on_step=on_step)
        behind = np.asarray(wide.image.convert("RGB"))
    image = Image.fromarray(joined(behind, made, weights))
    recipe = make_recipe(pipe, replace(settings, way="portraits"), kind=KINDS[False], size=size, origin=origin)
    return Portrait(image, recipe)


def joined(behind: np.ndarray, portraits: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> np.ndarray:
    """(h, w, 3) uint8 with square portraits, (s, s, 3) uint8, in their places: (h, w) float32 of 0 to 1. Each covers
    the box of its place, its middle in the box's middle; where places meet they are mixed, and sum to 1."""
    height, width = behind.shape[:2]
    laid, soft = [], []
    for portrait, weight in zip(portraits, weights, strict=True):
        rows, columns = np.nonzero(weight.max(1) >= 0.5)[0], np.nonzero(weight.max(0) >= 0.5)[0]
        if not len(rows) or not len(columns):
            raise UserError("a person's place is smaller than a pixel of the picture: make it larger")
        x0, x1, y0, y1 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
        factor = max(x1 - x0, y1 - y0) / len(portrait)
        resized = Image.fromarray(portrait).resize((round(len(portrait) * factor),) * 2, Image.Resampling.LANCZOS)
        left, top = round((x0 + x1 - resized.width) / 2), round((y0 + y1 - resized.height) / 2)
        move = np.array([[1.0, 0, left], [0, 1.0, top]])
        laid.append(
            cv2.warpAffine(
                np.asarray(resized), move, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
            )
        )
        soft.append(cv2.GaussianBlur(weight, (0, 0), max(0.5, SOFT * (x1 - x0)), borderType=cv2.BORDER_REPLICATE))
    total = np.sum(soft, axis=0)
    covered = np.max(weights, axis=0).min() >= 0.5
    scale = np.maximum(total, 1e-6) if covered else np.maximum(total, 1.0)
    new = sum(patch * (share / scale)[..., None] for patch, share in zip(laid, soft, strict=True))
    rest = 1 - np.minimum(total / scale, 1)
    return np.clip(np.round(new + behind * rest[..., None]), 0, 255).astype(np.uint8)


def room_for(masks: Sequence[Tensor], side: int, *, unit: int) -> tuple[int, int]:
    """Width and height of a picture in which the places are, on average, as large as a portrait, `side` pixels square.

    masks: (h, w) each; square ones (boxes) say nothing of the picture's own shape, others (a layout) keep theirs. Both
    sides are multiples of `unit`, at least `side`, and at most that for each person.
    """
    height, width = masks[0].shape
    inside = [mask > 0.5 for mask in masks]
    wide = sum(float(one.any(0).float().mean()) for one in inside) / len(masks)
    high = sum(float(one.any(1).float().mean()) for one in inside) / len(masks)
    across, down = side / max(wide, 1 / width), side / max(high, 1 / height)
    if height != width:
        factor = max((across / width * (down / height)) ** 0.5, side / min(height, width))
        across, down = factor * width, factor * height
    most = len(masks) * side // unit * unit
    sides = [max(side, min(most, round(one / unit) * unit)) for one in (across, down)]
    return sides[0], sides[1]


def assigned(faces: Sequence[Face], masks: Sequence[Tensor | None], shape: tuple[int, ...]) -> list[Face | None]:
    """Whose face is which, in a picture of shape (h, w, ...): in each place the largest whose middle is nearest to
    nobody else's place; people without a place get the largest faces from left to right."""
    middles = [((face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2) for face in faces]
    if any(mask is None for mask in masks):
        order = sorted(range(len(faces))[: len(masks)], key=lambda i: middles[i][0])
        return [faces[i] for i in order] + [None] * (len(masks) - len(order))
    inside = np.zeros((len(faces), len(masks)))
    for k, mask in enumerate(masks):
        assert mask is not None
        whole = _resized(mask, (shape[1], shape[0]))
        for i, (x, y) in enumerate(middles):
            inside[i, k] = whole[int(np.clip(y, 0, shape[0] - 1)), int(np.clip(x, 0, shape[1] - 1))]
    owner = [int(row.argmax()) if row.max() > 0 else -1 for row in inside]
    return [next((face for face, who in zip(faces, owner, strict=True) if who == k), None) for k in range(len(masks))]


def prompts_of(settings: GroupSettings, count: int) -> list[str]:
    """What is said of each person: their words, or the prompt. UserError: words for another number of people."""
    if not any(settings.words):
        return [settings.prompt] * count
    if len(settings.words) != count:
        raise UserError(f"words for {len(settings.words)} people, and {count} are in the picture: one each")
    return [words or settings.prompt for words in settings.words]


def plain(settings: GroupSettings, **changed: Any) -> Settings:
    """The settings of one picture in the way of `Settings`, with some of them changed."""
    return Settings(**({name: getattr(settings, name) for name in Settings.__dataclass_fields__} | changed))


def as_square(settings: GroupSettings, square: InpaintSettings, **changed: Any) -> InpaintSettings:
    """The group's settings for one square: its side is the shorter one of the group's, if they say any."""
    taken = {name: getattr(settings, name) for name in Settings.__dataclass_fields__} | {"strength": settings.strength}
    side = min((one for one in (settings.width, settings.height) if one is not None), default=None)
    return replace(square, **(taken | {"width": side, "height": side} | changed))


def _resized(mask: Tensor, size: tuple[int, int]) -> np.ndarray:
    """(h, w) -> (height, width) float32, area-averaged."""
    plane = mask.detach().float().cpu()[None, None]
    resized = torch.nn.functional.interpolate(plane, (size[1], size[0]), mode="area")
    return resized[0, 0].numpy().astype(np.float32)

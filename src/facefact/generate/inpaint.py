"""Inpainting: faces of a template picture become other people's; every pixel outside the blend stays as it was.

for each replacement:  view -> repaint in place, or lay the person's own head in -> settle on the old landmarks
all together:          skin of neck and ears follows -> faces laid over it, nothing blended twice
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import torch
from PIL import Image

from facefact.faces import Detector
from facefact.faces.align import similarity
from facefact.faces.mask import filled
from facefact.faces.square import seen_through
from facefact.generate.neck import Change, beside_skin, skin_under
from facefact.generate.pieces import Piece, laid_in
from facefact.generate.regions import Region, region_mask, softened
from facefact.generate.repaint import repaint
from facefact.generate.settling import settled
from facefact.generate.template import Template
from facefact.generate.text_to_image import (
    Settings,
    call_arguments,
    if_face_arrives,
    images,
    make_recipe,
    picture_size,
    reads_latents_alone,
    text_to_image,
)
from facefact.generate.view import View, view_about
from facefact.types import Face, FaceTokens, Portrait, UserError

if TYPE_CHECKING:
    from facefact.face_adapter import FaceAdapter

log = logging.getLogger("facefact")

SEAM = 0.35  # of the noise schedule: the last part, in which a head that was laid in may change too


@dataclass(frozen=True, kw_only=True)
class InpaintSettings(Settings):
    """As Settings; width and height are those of the model's square, not of the template.

    shape: "template" repaints in place, which keeps the template's outline; "person" draws a portrait of the person,
    lays its head in by the landmarks and repaints about it. region: what is repainted: "face", "hair" (with the face)
    or "head" (all of it); None is the face in place, and face and hair for the person's shape. strength: how much of
    what is there is forgotten, in (0, 1]; 1 keeps next to nothing of it. skin: whether neck and ears take the new
    face's colour. keep_expression: where the prompt names no expression a Studio adds the template's in words. context,
    centre: the square's side in longer sides of the face's box, and where in it the box's
    middle lies: as in the pictures that the model learned from.
    """

    shape: Literal["template", "person"] = "template"
    region: Region | None = None
    strength: float = 0.8
    skin: bool = True
    keep_expression: bool = True
    context: float = 2.4
    centre: tuple[float, float] = (0.5, 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.strength <= 1:
            raise UserError(f"the strength {self.strength} is not in (0, 1]")
        if self.width != self.height:
            raise UserError("inpainting works on a square: width and height must be equal")
        if int(self.steps * self.strength) < 1:
            raise UserError(f"strength {self.strength} leaves none of {self.steps} steps: raise one of them")
        if self.context < 1:
            raise UserError(f"a square of {self.context} face sizes does not hold the face: at least 1")

    @property
    def repainted(self) -> Region:
        """The region, whether it was chosen or not."""
        return self.region or ("hair" if self.shape == "person" else "face")

    @property
    def steps_taken(self) -> int:
        """Denoising steps for one face."""
        return int(self.steps * self.strength) + (self.steps if self.shape == "person" else 0)


@dataclass(frozen=True)
class Replacement:
    """A face of the template (found in `template.seen`) and who takes its place. words: what the prompt says besides,
    for this face; may be empty."""

    face: Face
    tokens: FaceTokens
    words: str = ""


def inpaint(
    pipe: Any,
    adapter: FaceAdapter,
    tokens: FaceTokens,
    settings: InpaintSettings,
    *,
    template: Template,
    face: Face,
    detector: Detector | None = None,
    mask: np.ndarray | None = None,
    origin: Mapping[str, Any] | None = None,
    on_step: Callable[[], None] | None = None,
) -> Portrait:
    """As `inpaint_faces`, for one face."""
    return inpaint_faces(
        pipe,
        adapter,
        [Replacement(face, tokens)],
        settings,
        template=template,
        detector=detector,
        mask=mask,
        origin=origin,
        on_step=on_step,
    )


def inpaint_faces(
    pipe: Any,
    adapter: FaceAdapter,
    replacements: Sequence[Replacement],
    settings: InpaintSettings,
    *,
    template: Template,
    detector: Detector | None = None,
    mask: np.ndarray | None = None,
    origin: Mapping[str, Any] | None = None,
    on_step: Callable[[], None] | None = None,
) -> Portrait:
    """The template with some of its faces replaced, one after the other, each seeing those before it. Works with a
    text-to-image pipeline and with an inpainting one, with ControlNets too: the control image of the settings is that
    of the whole template.

    The adapter is attached to the pipeline. detector: finds the new face, which is then moved onto the old one's
    landmarks; needed for the person's shape, and for regions with hair. None leaves it where it was drawn. mask: (h, w)
    bool of the template, repainted in the place of the region. UserError: a size the model cannot make, a mask that
    leaves a face out, something that needs a detector without one, no face in the person's portrait.
    """
    check(pipe, replacements, settings, template=template, detector=detector, mask=mask)
    work = Work(pipe, adapter, settings, template, detector, mask, on_step)
    seen, pieces = template.seen, []
    placed: list[np.ndarray] = []
    for one in replacements:
        piece, landmarks = replaced(work, one, seen)
        pieces.append(piece)
        placed.append(landmarks)
        seen = laid_in(template.seen, pieces)
    skin: list[Piece] = []
    if settings.skin:
        change = Change(template.seen, seen, [one.face for one in replacements], placed)
        skin = skin_under(change)
        if mask is None and settings.region in (None, "face"):
            pieces = beside_skin(change, pieces, skin, new_heads=settings.shape == "person", detector=detector)
    stored = [[replace(piece, patch=template.stored(piece.patch)) for piece in layer] for layer in (skin, pieces)]
    recipe = make_recipe(pipe, settings, kind="inpainting", size=work.size, origin=origin)
    recipe["windows"] = [list(piece.window) for piece in [*pieces, *skin]]
    if words := [one.words for one in replacements if one.words]:
        recipe["words"] = words
    return Portrait(template.image(laid_in(laid_in(template.colours, stored[0]), stored[1])), recipe)


@dataclass(frozen=True)
class Work:
    """What the replacement of every face reads."""

    pipe: Any
    adapter: FaceAdapter
    settings: InpaintSettings
    template: Template
    detector: Detector | None
    mask: np.ndarray | None
    on_step: Callable[[], None] | None

    @property
    def size(self) -> tuple[int, int]:
        return picture_size(self.pipe, self.settings)


def check(
    pipe: Any,
    replacements: Sequence[Replacement],
    settings: InpaintSettings,
    *,
    template: Template,
    detector: Detector | None,
    mask: np.ndarray | None,
) -> None:
    """UserErrors of `inpaint_faces` that can be said before any work."""
    if not replacements:
        raise UserError("no face is to be replaced: name one")
    if settings.shape == "person" and not reads_latents_alone(pipe):
        raise UserError(
            "the person's shape needs a text-to-image model, which draws the person's portrait first; this is an "
            "inpainting model: take --shape template, or its base"
        )
    if detector is None and (settings.shape == "person" or settings.repainted != "face"):
        raise UserError("the person's shape and regions with hair need a face detector")
    if mask is not None and mask.shape != template.seen.shape[:2]:
        wanted, given = (f"{shape[1]} x {shape[0]}" for shape in (template.seen.shape, mask.shape))
        raise UserError(f"the mask is {given} and the template {wanted}: they must have the same size")
    for one in replacements:
        if mask is not None and not mask[_inside(one.face, mask.shape)].any():
            raise UserError("the mask leaves the chosen face out: paint it white where the picture may change")


def _inside(face: Face, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Index of the face's landmarks."""
    points = np.round(face.landmarks).astype(int)
    return np.clip(points[:, 1], 0, shape[0] - 1), np.clip(points[:, 0], 0, shape[1] - 1)


def replaced(work: Work, one: Replacement, seen: np.ndarray) -> tuple[Piece, np.ndarray]:
    """One face of the picture as it is by now, (h, w, 3) uint8 sRGB: the piece that replaces it, and the new face's
    (5, 2) landmarks in the picture."""
    settings = work.settings
    view = view_about(one.face, seen.shape, work.size[0], context=settings.context, centre=settings.centre)
    look = view.look(seen)
    weight = _old_region(work, one.face)
    if settings.shape == "person":
        look, weight, freedom = laid_over(work, one, view, look, weight)
    else:
        freedom = (view.look_at_mask(weight) > 0).astype(np.float32)
    drawn = np.asarray(painted(work, one, view, look, freedom).convert("RGB"))
    mask = np.clip(view.look_at_mask(weight), 0, 1)[..., None]
    drawn, landmarks = settled(drawn, view.points(one.face.landmarks), work.detector, behind=look, mask=mask)
    return Piece(view.window, view.back(drawn), weight[view.part]), view.to_picture(landmarks)


def _old_region(work: Work, face: Face) -> np.ndarray:
    """(h, w) float32: the weight of what is repainted of the template."""
    if work.mask is not None:
        return softened(work.mask, face.longer_side)
    region = work.settings.repainted
    head = None
    if region != "face" and work.detector is not None:
        head = work.detector.head_mask(work.template.seen, face)
    return softened(region_mask(face, work.template.seen, region=region, head=head), face.longer_side)


def painted(work: Work, one: Replacement, view: View, look: np.ndarray, freedom: np.ndarray) -> Image.Image:
    """The view, (size, size, 3) uint8, with the person in it where there is freedom (see `repaint`)."""
    settings = _with_words(work.settings, one.words)
    region = torch.from_numpy((freedom > 0).astype(np.uint8) * 255) if settings.local else None
    arguments = call_arguments(work.pipe, work.adapter, one.tokens, [settings], region=region)
    arguments |= {"strength": settings.strength, "image": Image.fromarray(look)}
    result = repaint(
        work.pipe,
        arguments,
        freedom=freedom,
        on_step=if_face_arrives(work.pipe, work.adapter, settings, work.on_step),
        control=control_of_view(settings, work.template.seen.shape, view),
    )
    return images(result, [settings])[0]


def _with_words(settings: InpaintSettings, words: str) -> InpaintSettings:
    return replace(settings, prompt=f"{settings.prompt}, {words}") if words else settings


def control_of_view(settings: InpaintSettings, shape: tuple[int, ...], view: View) -> InpaintSettings:
    """The settings with the control image, which is of the whole template (h, w, ...), as the view shows it."""
    if settings.control_image is None:
        return settings
    one = isinstance(settings.control_image, Image.Image)
    given = [settings.control_image] if one else settings.control_image
    whole = [np.asarray(image.convert("RGB").resize((shape[1], shape[0]))) for image in given]  # type: ignore[union-attr]
    parts = [Image.fromarray(view.look(image)) for image in whole]
    return replace(settings, control_image=parts[0] if one else parts)


def laid_over(
    work: Work, one: Replacement, view: View, look: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The view with the head of a portrait of the person laid in by the landmarks, what of the picture is new then (h,
    w), and the freedom of the view's pixels: the seam and what the old head leaves bare all the time, the new head's
    inside in the last part.

    look: (size, size, 3) uint8. weight: (h, w) of the old head."""
    portrait, head, points = portrait_of(work, one, view)
    size, side = (view.size, view.size), one.face.longer_side * float(np.sqrt(np.linalg.det(view.matrix[:, :2])))
    matrix = similarity(points, view.points(one.face.landmarks))
    new_head = seen_through(head.astype(np.float32), matrix, size, border=cv2.BORDER_CONSTANT) > 0.5
    laid = seen_through(portrait, matrix, size, how=cv2.INTER_CUBIC)
    old = view.look_at_mask(weight) > 0
    bare = cv2.inpaint(look, (old & ~new_head).astype(np.uint8), max(3, round(0.05 * side)), cv2.INPAINT_TELEA)
    soft = cv2.GaussianBlur(new_head.astype(np.float32), (0, 0), max(0.5, 0.015 * side))[..., None]
    over = np.round(bare + soft * (laid.astype(np.float32) - bare)).astype(np.uint8)
    kernel = np.ones((max(3, 2 * round(0.04 * side) + 1),) * 2, np.uint8)
    inside = cv2.erode(new_head.astype(np.uint8), kernel, borderValue=1) > 0
    new = softened(new_head, side)
    freedom = np.where(inside, SEAM, (old | (new > 0)).astype(np.float32))
    whole = np.zeros(weight.shape, np.float32)
    whole[view.part] = np.clip(view.back(new, how=cv2.INTER_LINEAR), 0, 1)
    return over, np.maximum(weight, np.where(whole < 1 / 255, 0, whole)), freedom.astype(np.float32)


def portrait_of(work: Work, one: Replacement, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A portrait of the person, of the view's size: (size, size, 3) uint8, its head (size, size) bool, its landmarks
    (5, 2). UserError: no face is found in it."""
    settings = control_of_view(_with_words(work.settings, one.words), work.template.seen.shape, view)
    made = text_to_image(work.pipe, work.adapter, one.tokens, settings, on_step=work.on_step)
    pixels = np.asarray(made.image.convert("RGB"))
    assert work.detector is not None
    faces = work.detector.detect(pixels)
    if not faces:
        raise UserError(
            f"no face is found in the portrait of the person (seed {settings.seed}): try another --seed or --prompt, "
            "or --shape template"
        )
    head = region_mask(faces[0], pixels, region=work.settings.repainted, head=work.detector.head_mask(pixels, faces[0]))
    return pixels, filled(head), faces[0].landmarks.astype(np.float64)

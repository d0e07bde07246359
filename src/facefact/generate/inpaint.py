"""Inpainting: faces of a template picture become other people's; every pixel outside the blend stays as it was.

for each replacement:  view -> repaint in place, or lay the person's own head in -> settle on the old landmarks
all together:          skin of neck and ears follows -> faces laid over it, nothing blended twice
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image

from facefact.faces import Detector
from facefact.generate.neck import Change, beside_skin, skin_under
from facefact.generate.own_head import Head, head_of, laid_over
from facefact.generate.pieces import Piece, box_of, laid_in, turns
from facefact.generate.prompts import windows
from facefact.generate.regions import Region, region_mask, softened
from facefact.generate.repaint import repaint
from facefact.generate.settling import settled
from facefact.generate.template import Template
from facefact.generate.text_to_image import (
    Settings,
    batches,
    call_arguments,
    if_face_arrives,
    images,
    make_recipe,
    picture_size,
    reads_latents_alone,
    rows_of,
    text_to_images,
)
from facefact.generate.view import View, view_about
from facefact.types import Face, FaceTokens, Portrait, UserError

if TYPE_CHECKING:
    from facefact.face_adapter import FaceAdapter

log = logging.getLogger("facefact")


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
    for this face; may be empty. prompt, seed: this face's own, in place of the settings'. scale: how much this person's
    face counts, besides the settings' scale."""

    face: Face
    tokens: FaceTokens
    words: str = ""
    prompt: str | None = None
    seed: int | None = None
    scale: float = 1.0


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
    batch: int = 1,
    origin: Mapping[str, Any] | None = None,
    on_step: Callable[[], None] | None = None,
) -> Portrait:
    """The template with some of its faces replaced. Works with a text-to-image pipeline and with an inpainting one,
    with ControlNets too: the control image of the settings is that of the whole template.

    Faces whose squares show nothing of each other's change are drawn up to `batch` at a time, in one denoising run;
    the others wait, and see what was made before (see `turns`). The picture is the same whatever the batch, to rounding
    (in local mode nearly: the region is as large for all of a batch). With a control image each is drawn for itself.

    The adapter is attached to the pipeline. detector: finds the new face, which is then moved onto the old one's
    landmarks; needed for the person's shape, and for regions with hair. None leaves it where it was drawn. mask: (h, w)
    bool of the template, repainted in the place of the region. UserError: a size the model cannot make, a mask that
    leaves a face out, something that needs a detector without one, no face in the person's portrait.
    """
    check(pipe, replacements, settings, template=template, detector=detector, mask=mask)
    work = Work(pipe, adapter, settings, template, detector, mask, on_step)
    pieces, placed = drawn_in_turns(work, replacements, batch)
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


def drawn_in_turns(work: Work, replacements: Sequence[Replacement], batch: int) -> tuple[list[Piece], list[np.ndarray]]:
    """For each replacement the piece that does it, and the new face's (5, 2) landmarks in the picture."""
    ready = [prepared(work, one) for one in replacements]
    made: dict[int, tuple[Piece, np.ndarray]] = {}
    grows = work.settings.shape == "person"  # a head that is laid in may be anywhere in its square
    changes = [one.view.window if grows else box_of(one.weight) for one in ready]
    for turn in turns([one.view.window for one in ready], changes):
        seen = laid_in(work.template.seen, [made[i][0] for i in sorted(made)])
        for part in batches([replace(ready[i], number=i) for i in turn], batch):
            made |= zip([one.number for one in part], replaced(work, part, seen), strict=True)
    pieces, placed = zip(*(made[i] for i in range(len(replacements))), strict=True)
    return list(pieces), list(placed)


@dataclass(frozen=True)
class Ready:
    """A replacement before it is drawn, with its own settings. weight: (h, w) float32, how much of the template's
    pixels it takes. windows: of the text encoder that its prompts fill. number: among the replacements."""

    one: Replacement
    settings: InpaintSettings
    view: View
    weight: np.ndarray
    windows: int
    number: int = 0

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal for those that can be drawn in one run."""
        return replace(self.settings, prompt="", seed=0), self.one.tokens.face.shape, self.windows


def prepared(work: Work, one: Replacement) -> Ready:
    settings, shape = work.settings, work.template.seen.shape
    view = view_about(one.face, shape, work.size[0], context=settings.context, centre=settings.centre)
    own = control_of_view(_own(settings, one), shape, view)
    return Ready(one, own, view, _old_region(work, one.face), windows(work.pipe, own.prompt, own.negative_prompt))


def replaced(work: Work, ready: Sequence[Ready], seen: np.ndarray) -> list[tuple[Piece, np.ndarray]]:
    """Faces of the picture as it is by now, (h, w, 3) uint8 sRGB, drawn in one run: for each the piece that replaces
    it, and the new face's (5, 2) landmarks in the picture."""
    looks = [one.view.look(seen) for one in ready]
    weights = [one.weight for one in ready]
    if work.settings.shape == "person":
        over = [
            laid_over(head, one.one.face, view=one.view, look=look, weight=one.weight)
            for one, head, look in zip(ready, _heads(work, ready), looks, strict=True)
        ]
        looks, weights, freedom = ([each[i] for each in over] for i in range(3))
    else:
        freedom = [(one.view.look_at_mask(one.weight) > 0).astype(np.float32) for one in ready]
    found = []
    for one, look, weight, image in zip(ready, looks, weights, painted(work, ready, looks, freedom), strict=True):
        view, drawn = one.view, np.asarray(image.convert("RGB"))
        mask = np.clip(view.look_at_mask(weight), 0, 1)[..., None]
        old = view.points(one.one.face.landmarks)
        drawn, landmarks = settled(drawn, old, work.detector, behind=look, mask=mask)
        found.append((Piece(view.window, view.back(drawn), weight[view.part]), view.to_picture(landmarks)))
    return found


def _heads(work: Work, ready: Sequence[Ready]) -> list[Head]:
    """Of portraits of the people, which are drawn in one run."""
    people, settings = [one.one.tokens for one in ready], [one.settings for one in ready]
    made = text_to_images(work.pipe, work.adapter, people, settings, batch=len(ready), on_step=work.on_step)
    assert work.detector is not None
    return [head_of(portrait, detector=work.detector, region=work.settings.repainted) for portrait in made]


def _old_region(work: Work, face: Face) -> np.ndarray:
    """(h, w) float32: the weight of what is repainted of the template."""
    if work.mask is not None:
        return softened(work.mask, face.longer_side)
    region = work.settings.repainted
    head = None
    if region != "face" and work.detector is not None:
        head = work.detector.head_mask(work.template.seen, face)
    return softened(region_mask(face, work.template.seen, region=region, head=head), face.longer_side)


def painted(
    work: Work, ready: Sequence[Ready], looks: Sequence[np.ndarray], freedom: Sequence[np.ndarray]
) -> list[Image.Image]:
    """The views, (size, size, 3) uint8 each, with their people in them where there is freedom (see `repaint`)."""
    settings, free = [one.settings for one in ready], np.stack(freedom)
    region = torch.from_numpy((free > 0).astype(np.uint8) * 255) if work.settings.local else None
    people = rows_of([one.one.tokens for one in ready])
    arguments = call_arguments(work.pipe, work.adapter, people, settings, region=region)
    arguments |= {"strength": work.settings.strength, "image": [Image.fromarray(look) for look in looks]}
    result = repaint(
        work.pipe,
        arguments,
        freedom=free,
        on_step=if_face_arrives(work.pipe, work.adapter, work.settings, work.on_step),
        control=settings[0],
    )
    return images(result, settings)


def _own(settings: InpaintSettings, one: Replacement) -> InpaintSettings:
    """The settings with the prompt, the seed and the scale of one face."""
    prompt = settings.prompt if one.prompt is None else one.prompt
    prompt = f"{prompt}, {one.words}" if one.words else prompt
    seed = settings.seed if one.seed is None else one.seed
    return replace(settings, prompt=prompt, seed=seed, scale=settings.scale * one.scale)


def control_of_view(settings: InpaintSettings, shape: tuple[int, ...], view: View) -> InpaintSettings:
    """The settings with the control image, which is of the whole template (h, w, ...), as the view shows it."""
    if settings.control_image is None:
        return settings
    one = isinstance(settings.control_image, Image.Image)
    given = [settings.control_image] if one else settings.control_image
    whole = [np.asarray(image.convert("RGB").resize((shape[1], shape[0]))) for image in given]  # type: ignore[union-attr]
    parts = [Image.fromarray(view.look(image)) for image in whole]
    return replace(settings, control_image=parts[0] if one else parts)

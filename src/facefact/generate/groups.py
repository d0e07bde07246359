"""Groups: several people in one picture, in one denoising run over all of it. Each has a region, a face, and words if
wanted.

The regions are boxes or masks in a picture that is made from noise, or the faces of a template picture, of which every
pixel outside the blended faces stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from facefact.adapter import Region
from facefact.adapter.regional_text import regional_text
from facefact.generate import prompts
from facefact.generate.finite import finite_pictures
from facefact.generate.models import native_size
from facefact.generate.pieces import Piece, laid_in
from facefact.generate.repaint import repaint
from facefact.generate.text_to_image import (
    Settings,
    call_arguments,
    control_arguments,
    if_face_arrives,
    images,
    make_recipe,
    picture_size,
    reads_latents_alone,
    step_callback,
)
from facefact.types import Face, Portrait, UserError

if TYPE_CHECKING:
    from facefact.face_adapter import FaceAdapter
    from facefact.generate.template import Template

STRENGTH = 0.8
KINDS = {False: "group", True: "group in a template"}


Way = Literal["together", "squares", "portraits"]


@dataclass(frozen=True, kw_only=True)
class GroupSettings(Settings):
    """As Settings; the prompt is the whole picture's, and that of people without words of their own.

    words: what is said of each person, in the order of the regions, "" for nothing; whole prompts, which are read there
    in place of the other. strength: how much of a template's faces is forgotten, in (0, 1], None for STRENGTH. way:
    "together" is one run over the whole picture, "squares" a square about each face, "portraits" each one's portrait
    laid into their place (see `group_squares`); None is the best way for the model and the picture.
    """

    words: Sequence[str] = field(default_factory=list)
    strength: float | None = None
    way: Way | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "words", list(self.words))  # as a recipe reads it back
        if self.strength is None:
            return
        if not 0 < self.strength <= 1:
            raise UserError(f"the strength {self.strength} is not in (0, 1]")
        if int(self.steps * self.strength) < 1:
            raise UserError(f"strength {self.strength} leaves none of {self.steps} steps: raise one of them")


@dataclass(frozen=True)
class InTemplate:
    """The picture that a group is put into. weight: (h, w) float32 in [0, 1], how much of each pixel is new; the rest
    stays as it was. reading: for each person (h, w), where their words are read, which is more than the face: what is
    around it tells the model how the face lies. faces: of each person the one whose place they take, for squares about
    them; region: what is repainted then.
    """

    template: Template
    weight: np.ndarray
    reading: Sequence[Tensor]
    faces: Sequence[Face] = ()
    region: Literal["face", "hair", "head"] = "face"


def paint_group(
    pipe: Any,
    adapter: FaceAdapter,
    people: Sequence[Region],
    settings: GroupSettings,
    *,
    place: InTemplate | None = None,
    origin: Mapping[str, Any] | None = None,
    on_step: Callable[[], None] | None = None,
) -> Portrait:
    """All people in one run over the whole picture. The adapter is attached to the pipeline, which is of the
    text-to-image kind.

    people: each one's region of the picture, or of the template. UserErrors as `text_to_image`; and words of another
    number of people, or of people whose places are not known beforehand, or for a model that reads no embeddings.
    """
    if settings.way not in (None, "together"):
        raise ValueError(f"the way {settings.way!r} is not one run: see group_squares")
    settings = replace(settings, way="together")
    if not reads_latents_alone(pipe):
        raise UserError("this is an inpainting model: a group takes its text-to-image base")
    if place is not None:
        settings = replace(settings, strength=settings.strength or STRENGTH)
    elif settings.strength is not None:
        raise UserError("the strength says how much of a template is forgotten, and there is none")
    arguments = group_arguments(pipe, adapter, people, settings)
    on_step = if_face_arrives(pipe, adapter, settings, on_step)
    masks = [one.mask for one in people] if place is None else place.reading
    with words_in_place(pipe, masks, settings), finite_pictures(pipe):
        if place is None:
            image, size = _from_noise(pipe, arguments, settings, on_step)
        else:
            image, size = _in_template(pipe, arguments, settings, place, on_step)
    recipe = make_recipe(pipe, settings, kind=KINDS[place is not None], size=size, origin=origin)
    return Portrait(image, recipe)


def group_arguments(
    pipe: Any, adapter: FaceAdapter, people: Sequence[Region], settings: GroupSettings
) -> dict[str, Any]:
    """What the pipeline is called with: as `call_arguments`, with all people's words one after the other."""
    arguments = call_arguments(pipe, adapter, people, [settings])
    if not any(settings.words):
        return arguments
    if len(settings.words) != len(people):
        raise UserError(f"words for {len(settings.words)} people, and {len(people)} are in the picture: one each")
    if any(one.mask is None for one in people):
        raise UserError("words of a person need to know their place: give boxes, a layout or a template")
    if not prompts.reads_embeddings(pipe):
        raise UserError(f"{type(pipe).__name__} reads no embeddings of prompts: people cannot have words of their own")
    texts = [settings.prompt, *(words or settings.prompt for words in settings.words)]
    guides = "negative_prompt" in arguments or "negative_prompt_embeds" in arguments
    embeddings, pooled = prompts.encode(pipe, [*texts, settings.negative_prompt])  # all as long as the longest
    whole, negative = embeddings[:-1], embeddings[-1:].expand(len(texts), -1, -1)
    kept = {name: value for name, value in arguments.items() if "prompt" not in name}
    kept |= {"prompt_embeds": whole.flatten(0, 1)[None]}
    kept |= {"pooled_prompt_embeds": pooled[:1]} if pooled is not None else {}
    if guides:
        kept |= {"negative_prompt_embeds": negative.flatten(0, 1)[None]}
        kept |= {"negative_pooled_prompt_embeds": pooled[-1:]} if pooled is not None else {}
    return kept


def words_in_place(pipe: Any, masks: Sequence[Tensor | None], settings: GroupSettings) -> AbstractContextManager[None]:
    """Inside, each person's words are read in their place, if there are any."""
    if not any(settings.words):
        return nullcontext()
    return regional_text(pipe, [mask.to(pipe._execution_device) for mask in masks if mask is not None])


def _from_noise(
    pipe: Any, arguments: dict[str, Any], settings: GroupSettings, on_step: Callable[[], None]
) -> tuple[Image.Image, tuple[int, int]]:
    """The picture, and the width and height that the model worked at."""
    width, height = picture_size(pipe, settings)
    controls = control_arguments(pipe, settings)
    result = pipe(width=width, height=height, callback_on_step_end=step_callback(on_step), **controls, **arguments)
    return images(result, [settings])[0], (width, height)


def _in_template(
    pipe: Any, arguments: dict[str, Any], settings: GroupSettings, place: InTemplate, on_step: Callable[[], None]
) -> tuple[Image.Image, tuple[int, int]]:
    """As `_from_noise`; the picture is as large as the template."""
    if getattr(pipe, "controlnet", None) is not None:
        raise UserError("a group in a template and a ControlNet do not work together: open the base model alone")
    template = place.template
    size = working_size(pipe, template.seen.shape, settings)
    image = Image.fromarray(template.seen).resize(size, Image.Resampling.LANCZOS)
    freedom = (place.weight > 0).astype(np.float32)
    begun = arguments | {"image": [image], "strength": settings.strength}
    new = images(repaint(pipe, begun, freedom=freedom[None], on_step=on_step), [settings])[0].convert("RGB")
    height, width = template.seen.shape[:2]
    patch = template.stored(np.asarray(new.resize((width, height), Image.Resampling.LANCZOS)))
    made = laid_in(template.colours, [Piece((0, 0, width, height), patch, place.weight)])
    return template.image(made), size


def working_size(pipe: Any, shape: tuple[int, ...], settings: Settings) -> tuple[int, int]:
    """Width and height at which the model works on a picture (h, w, ...): its shorter side as long as the settings
    say, or as the model is made for."""
    height, width = shape[:2]
    unit = int(pipe.vae_scale_factor) * 2 ** (len(pipe.unet.config.block_out_channels) - 1)
    short = min(settings.width or native_size(pipe), settings.height or native_size(pipe))
    factor = short / min(height, width)
    return (max(unit, round(width * factor / unit) * unit), max(unit, round(height * factor / unit) * unit))

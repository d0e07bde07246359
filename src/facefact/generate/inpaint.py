"""Inpainting: one face of a template picture becomes another person's; every pixel outside the blend stays as it was.

open_template -> work_square -> face_region -> repaint -> blend
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from facefact.faces import open_picture
from facefact.faces.align import alignment, inverse, transform
from facefact.faces.colour import from_srgb
from facefact.faces.mask import polygon_mask
from facefact.faces.picture import has_alpha
from facefact.generate.finite import encode, finite_pictures
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
from facefact.types import Face, FaceTokens, Portrait, UserError

if TYPE_CHECKING:
    from facefact.face_adapter import FaceAdapter

CONTEXT = 2.4  # side of the square that the model sees, in longer sides of the face's box
GROWTH = 0.06  # how far the repainted region reaches beyond the face, in longer sides of its box
FEATHER = 0.04  # width of the blend (a Gaussian's sigma), in the same unit
# A face from hairline to chin in the 112 px ArcFace template (eyes at y = 52, mouth corners at y = 92).
FACE_CENTRE = (56.0, 64.0)
FACE_AXES = (44.0, 54.0)


@dataclass(frozen=True, kw_only=True)
class InpaintSettings(Settings):
    """As Settings; width and height are those of the model's square, not of the template.

    strength: how much of the template's face is forgotten, in (0, 1]; 1 keeps next to nothing of it.
    """

    strength: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.strength <= 1:
            raise UserError(f"the strength {self.strength} is not in (0, 1]")
        if self.width != self.height:
            raise UserError("inpainting works on a square: width and height must be equal")
        if int(self.steps * self.strength) < 1:
            raise UserError(f"strength {self.strength} leaves none of {self.steps} steps: raise one of them")


@dataclass(frozen=True)
class Template:
    """A picture to work on. colours: (h, w, 3) uint8 RGB as stored, upright; of a grey picture three equal channels.
    alpha: (h, w) uint8, or None.

    seen: (h, w, 3) uint8 sRGB, transparency laid over white: what detectors and the model look at. profile: the ICC
    profile that `colours` are meant in, None for sRGB. grey: whether the picture made of it is to be grey.
    """

    colours: np.ndarray
    alpha: np.ndarray | None
    seen: np.ndarray
    profile: bytes | None = None
    grey: bool = False

    def stored(self, patch: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 sRGB -> (h, w, 3) uint8 as `colours` are."""
        return from_srgb(patch, self.profile, grey=self.grey)

    def image(self, colours: np.ndarray) -> Image.Image:
        """New colours (h, w, 3) in the template's mode, with its alpha and its profile."""
        image = Image.fromarray(colours[..., 0] if self.grey else colours)
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        if self.profile:
            image.info["icc_profile"] = self.profile
        return image


def open_template(path: str | Path) -> Template:
    """A template at its full size, 8 bits per channel, mode and profile kept. What PNG cannot hold (CMYK, CIELAB)
    becomes sRGB, a palette RGB. UserErrors as `open_picture`."""
    seen = open_picture(path, max_side=1 << 30)
    with Image.open(path) as image:
        profile, upright = image.info.get("icc_profile"), ImageOps.exif_transpose(image)
    grey = upright.mode in ("1", "L", "LA", "La") or upright.mode.startswith(("I", "F"))
    if upright.mode in ("CMYK", "LAB") or upright.mode.startswith(("I", "F")):
        return Template(seen, None, seen, grey=grey)
    alpha = np.asarray(upright.convert("RGBA").getchannel("A")) if has_alpha(upright) else None
    rgb = upright.convert("RGBA") if alpha is not None else upright
    return Template(np.asarray(rgb.convert("RGB")), alpha, seen, profile, grey)


def work_square(face: Face, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """x, y and side of the square around a face that the model sees, inside a picture of shape (h, w, ...)."""
    height, width = shape[:2]
    x0, y0, x1, y1 = face.box
    side = min(round(CONTEXT * max(x1 - x0, y1 - y0)), height, width)
    x = min(max(round((x0 + x1 - side) / 2), 0), width - side)
    y = min(max(round((y0 + y1 - side) / 2), 0), height - side)
    return x, y, side


def face_region(face: Face, square: tuple[int, int, int]) -> np.ndarray:
    """(side, side) float32 in [0, 1]: how much of each pixel in the square is repainted; exactly 0 off the face."""
    x, y, side = square
    if face.oval is not None and len(face.oval) > 2:
        outline = np.asarray(face.oval, np.float64)
    else:
        angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        ellipse = np.column_stack([np.cos(angle), np.sin(angle)]) * FACE_AXES + FACE_CENTRE
        outline = transform(ellipse, inverse(alignment(face.landmarks)))
    size = max(face.box[2] - face.box[0], face.box[3] - face.box[1])
    reach = 2 * round(GROWTH * size) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    inside = cv2.dilate(polygon_mask((side, side), outline - (x, y)).astype(np.float32), kernel)
    weight = cv2.GaussianBlur(inside, (0, 0), max(0.5, FEATHER * size))
    return np.where(weight < 1 / 255, 0, weight).astype(np.float32)


def blend(colours: np.ndarray, patch: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 colours and patch, (h, w) weight -> the mixture; the colours bit for bit where it is 0."""
    mixed = colours + (patch.astype(np.float32) - colours) * weight[..., None]
    return np.where(weight[..., None] > 0, np.round(mixed), colours).astype(np.uint8)


def inpaint(
    pipe: Any,
    adapter: FaceAdapter,
    tokens: FaceTokens,
    settings: InpaintSettings,
    *,
    template: Template,
    face: Face,
    origin: Mapping[str, Any] | None = None,
    on_step: Callable[[], None] | None = None,
) -> Portrait:
    """The template with one of its faces replaced. Works with a text-to-image pipeline and with an inpainting one, with
    ControlNets too: the control image of the settings is that of the whole template.

    The adapter is attached to the pipeline. face: the one to replace, found in `template.seen`. UserError: a size the
    model cannot make.
    """
    x, y, side = square = work_square(face, template.colours.shape)
    part = np.s_[y : y + side, x : x + side]
    weight = face_region(face, square)
    size = picture_size(pipe, settings)
    image, mask = _resized(template.seen[part], size), _resized((weight > 0).astype(np.uint8) * 255, size)
    region = torch.from_numpy(np.array(mask)) if settings.local else None
    arguments = call_arguments(pipe, adapter, tokens, [settings], region=region)
    arguments |= {"strength": settings.strength, "image": image}
    control = _control_of_square(settings, template.colours.shape, square, size)
    on_step = if_face_arrives(pipe, adapter, settings, on_step)
    result = repaint(pipe, arguments, mask=mask, seed=settings.seed, on_step=on_step, control=control)
    patch = np.asarray(_resized(np.asarray(images(result, [settings])[0].convert("RGB")), (side, side)))
    colours = template.colours.copy()
    colours[part] = blend(colours[part], template.stored(patch), weight)
    recipe = make_recipe(pipe, settings, kind="inpainting", size=size, origin=origin)
    return Portrait(template.image(colours), recipe | {"square": [x, y, side]})


def repaint(
    pipe: Any,
    arguments: dict[str, Any],
    *,
    mask: Image.Image,
    seed: int,
    on_step: Callable[[], None] | None,
    control: Settings | None = None,
) -> Any:
    """diffusers' result for `image` among the arguments, new where the mask is not 0. mask: of the image's size, grey.
    control: settings whose control image, if any, is that of `image`.

    An inpainting model is called as such. Of any other, however many channels its latents have, the image-to-image call
    is used, and after every step what the mask leaves out is put back (blended diffusion, Avrahami et al. 2022).
    """
    from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting

    if reads_latents_alone(pipe):
        painter = _as(AutoPipelineForImage2Image, pipe)
        callback = step_callback(on_step, putting_back(pipe, arguments["image"], mask, seed=seed))
    else:
        painter = _as(AutoPipelineForInpainting, pipe)
        callback = step_callback(on_step)
        arguments = arguments | {"mask_image": mask, "width": mask.width, "height": mask.height}
    painter.set_progress_bar_config(disable=True)
    controls = control_arguments(painter, control) if control else {}
    with finite_pictures(pipe):
        return painter(callback_on_step_end=callback, **controls, **arguments)


def _as(kind: Any, pipe: Any) -> Any:
    """The same parts as a pipeline of another kind. UserError: diffusers has none for them."""
    try:
        return kind.from_pipe(pipe)
    except ValueError as error:
        raise UserError(
            f"diffusers cannot repaint a picture with the parts of {type(pipe).__name__}: give its base pipeline, or "
            "one with a ControlNet"
        ) from error


def _control_of_square(
    settings: InpaintSettings, shape: tuple[int, ...], square: tuple[int, int, int], size: tuple[int, int]
) -> InpaintSettings:
    """The settings with the control image, which is of the whole template (h, w, ...), cut and scaled as the square."""
    if settings.control_image is None:
        return settings
    x, y, side = square
    one = isinstance(settings.control_image, Image.Image)
    images = [settings.control_image] if one else settings.control_image
    whole = [image.convert("RGB").resize((shape[1], shape[0])) for image in images]  # type: ignore[union-attr]
    parts = [image.crop((x, y, x + side, y + side)).resize(size, Image.Resampling.LANCZOS) for image in whole]
    return replace(settings, control_image=parts[0] if one else parts)


def putting_back(
    pipe: Any, image: Image.Image, mask: Image.Image, *, seed: int
) -> Callable[[Any, int, torch.Tensor], torch.Tensor]:
    """(pipeline, step, latents) -> latents with the image where the mask is 0, at the next step's noise level."""
    clean = encode(pipe.vae, pipe.image_processor.preprocess(image).to(pipe._execution_device))
    noise = torch.randn(clean.shape, generator=torch.Generator("cpu").manual_seed(seed)).to(clean)
    painted = torch.from_numpy(np.array(mask)).to(clean)[None, None]
    new = F.adaptive_max_pool2d(painted, clean.shape[-2:]) > 0

    def edit(pipe: Any, step: int, latents: torch.Tensor) -> torch.Tensor:
        timesteps = pipe.scheduler.timesteps
        following = len(timesteps) - pipe.num_timesteps + step + 1
        ended = following >= len(timesteps)
        old = clean if ended else pipe.scheduler.add_noise(clean, noise, timesteps[following : following + 1])
        return torch.where(new, latents, old.to(latents.dtype))

    return edit


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """(h, w[, 3]) uint8 -> a PIL image of the size (width, height)."""
    image = Image.fromarray(pixels)
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)

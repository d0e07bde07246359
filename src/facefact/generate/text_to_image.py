"""Text-to-image portraits: a stock diffusers pipeline with a face adapter attached, one picture per call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from facefact.generate.models import native_size
from facefact.generate.recipe import versions
from facefact.types import FaceTokens, Portrait, UserError

if TYPE_CHECKING:
    from facefact.face_adapter import FaceAdapter

log = logging.getLogger("facefact")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user decides about one picture. scale: how much the face counts, 0 is the base model alone.

    width, height: pixels; None is the model's native size.
    """

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    steps: int = 25
    scale: float = 0.7
    guidance_scale: float = 5.0
    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"{self.steps} steps make no picture: at least 1")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"the seed {self.seed} is not in 0 .. 2**63 - 1")
        if self.scale < 0:
            raise UserError(f"the face scale {self.scale} is negative; 0 is no face, 1 the whole face")


def text_to_image(
    pipe: Any,
    adapter: FaceAdapter,
    tokens: FaceTokens,
    settings: Settings,
    *,
    origin: Mapping[str, Any] | None = None,
    on_step: Callable[[], None] | None = None,
) -> Portrait:
    """One portrait. The adapter is attached to the pipeline; the same settings give the same picture.

    origin: what else belongs into the recipe (content hashes of model, adapter and faces). on_step: called after every
    denoising step. UserError: a size the model cannot make, an inpainting model.
    """
    if not reads_latents_alone(pipe):
        raise UserError("this is an inpainting model: use it with `facefact inpaint`, or take its text-to-image base")
    width, height = picture_size(pipe, settings)
    result = pipe(
        width=width,
        height=height,
        callback_on_step_end=step_callback(on_step),
        **call_arguments(pipe, adapter, tokens, settings),
    )
    recipe = make_recipe(pipe, settings, kind="text-to-image", size=(width, height), origin=origin)
    return Portrait(first_image(result, settings), recipe)


def picture_size(pipe: Any, settings: Settings) -> tuple[int, int]:
    """Width and height in pixels."""
    size = (settings.width or native_size(pipe), settings.height or native_size(pipe))
    unit = int(pipe.vae_scale_factor)
    for side in size:
        if side < unit or side % unit:
            raise UserError(f"{side} pixels is no size for this model: take a multiple of {unit}")
    return size


def reads_latents_alone(pipe: Any) -> bool:
    """False for inpainting models, whose U-Net reads a mask and a masked picture besides the latents."""
    return pipe.unet.config.in_channels == pipe.vae.config.latent_channels


def call_arguments(pipe: Any, adapter: FaceAdapter, tokens: FaceTokens, settings: Settings) -> dict[str, Any]:
    """The arguments that text-to-image and inpainting share. The noise is drawn on the CPU, so that every device draws
    the same."""
    guidance = settings.guidance_scale > 1 and pipe.unet.config.time_cond_proj_dim is None
    tokens = tokens.to(device=pipe.device, dtype=pipe.unet.dtype)
    return {
        "prompt": settings.prompt,
        "negative_prompt": settings.negative_prompt,
        "num_inference_steps": settings.steps,
        "guidance_scale": settings.guidance_scale,
        "generator": torch.Generator("cpu").manual_seed(settings.seed),
        "cross_attention_kwargs": adapter.condition(tokens, scale=settings.scale, guidance=guidance),
    }


def step_callback(
    on_step: Callable[[], None] | None,
    edit: Callable[[Any, int, torch.Tensor], torch.Tensor] = lambda pipe, step, latents: latents,
) -> Callable[..., dict[str, Any]]:
    """What diffusers calls after every step: `edit` changes the latents, then `on_step` is told."""

    def callback(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if on_step is not None:
            on_step()
        return tensors | {"latents": edit(pipe, step, tensors["latents"])}

    return callback


def first_image(result: Any, settings: Settings) -> Image.Image:
    """The picture of a pipeline's result; says so where the model's own safety checker blacked it out."""
    if any(getattr(result, "nsfw_content_detected", None) or ()):
        log.warning("warning: the model's safety checker blacked out the picture of seed %d", settings.seed)
    return result.images[0]


def make_recipe(
    pipe: Any,
    settings: Settings,
    *,
    kind: str,
    size: tuple[int, int],
    origin: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that the picture depends on, as JSON values. size: the width and height that the model works at."""
    width, height = size
    return {
        "kind": kind,
        **asdict(settings),
        "width": width,
        "height": height,
        "scheduler": type(pipe.scheduler).__name__,
        "device": pipe.device.type,
        "dtype": str(pipe.unet.dtype).removeprefix("torch."),
        "versions": versions(),
        **(origin or {}),
    }

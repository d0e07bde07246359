"""Repainting a part of a picture with whatever pipeline there is: an inpainting model, or image-to-image with the rest
put back after every step (blended diffusion, Avrahami et al. 2022)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from facefact.autoencoder import encode
from facefact.generate.finite import finite_pictures
from facefact.generate.text_to_image import Settings, control_arguments, reads_latents_alone, step_callback, takes
from facefact.types import UserError


def repaint(
    pipe: Any,
    arguments: dict[str, Any],
    *,
    freedom: np.ndarray,
    on_step: Callable[[], None] | None,
    control: Settings | None = None,
) -> Any:
    """diffusers' result for `image` among the arguments: n pictures of one size, repainted in one run.

    freedom: (n, h, w) float in [0, 1], of the images' size: the last part of the noise schedule in which a pixel may
    change; 0 is never, 1 from the first step on. control: settings whose control image, if any, is that of the one
    image there is.

    An inpainting model is called as such; it repaints where there is any freedom. Of any other, however many channels
    its latents have, the image-to-image call is used, or its inpainting one where diffusers has no other.
    """
    own = Noise()
    painter = painter_of(pipe)
    callback = step_callback(on_step)
    if reads_latents_alone(pipe):
        callback = step_callback(on_step, putting_back(pipe, arguments["image"], freedom, own))
    if takes(painter, "mask_image"):
        masks = [Image.fromarray((one > 0).astype(np.uint8) * 255) for one in freedom]
        arguments = arguments | {"mask_image": masks, "width": masks[0].width, "height": masks[0].height}
    painter.set_progress_bar_config(disable=True)
    controls = control_arguments(painter, control) if control else {}
    with finite_pictures(pipe), watched(painter.scheduler, own):
        return painter(callback_on_step_end=callback, **controls, **arguments)


def painter_of(pipe: Any) -> Any:
    """The same parts as a pipeline that starts from a picture. UserError: diffusers has none for them."""
    from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting

    kinds: list[Any] = [AutoPipelineForInpainting]
    if reads_latents_alone(pipe):
        kinds = [AutoPipelineForImage2Image, AutoPipelineForInpainting]
    failures = []
    for kind in kinds:
        try:
            return kind.from_pipe(pipe)
        except ValueError as error:
            failures.append(error)
    raise UserError(
        f"diffusers cannot repaint a picture with the parts of {type(pipe).__name__}: give its base pipeline, or "
        "one with a ControlNet"
    ) from failures[0]


@dataclass
class Noise:
    """What an image-to-image call put on the images' latents: (n, c, h, w)."""

    drawn: Tensor | None = None


@contextlib.contextmanager
def watched(scheduler: Any, own: Noise) -> Iterator[None]:
    """While a pipeline is called: `own` gets the noise that it begins with.

    Other noise outside the mask would tell the model of another picture there from the second step on, and its edge
    would show.
    """
    add_noise = scheduler.add_noise

    def add_and_keep(clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        own.drawn = noise if own.drawn is None else own.drawn
        return add_noise(clean, noise, timesteps)

    scheduler.add_noise = add_and_keep
    try:
        yield
    finally:
        del scheduler.add_noise


def noise_of(own: Noise) -> Tensor:
    """UserError: the pipeline has not drawn it through its scheduler."""
    if own.drawn is None:
        raise UserError("this pipeline hides the noise that it begins with: what the mask leaves out cannot be kept")
    return own.drawn


def putting_back(
    pipe: Any, pictures: Sequence[Image.Image], freedom: np.ndarray, own: Noise
) -> Callable[[Any, int, Tensor], Tensor]:
    """(pipeline, step, latents) -> latents with the pictures where a pixel is not free yet, at the next step's
    noise."""
    clean = encode(pipe.vae, pipe.image_processor.preprocess(list(pictures)).to(pipe._execution_device))
    plane = torch.from_numpy(np.ascontiguousarray(freedom, np.float32)).to(clean.device)[:, None]
    until = F.adaptive_max_pool2d(plane, clean.shape[-2:])

    def edit(pipe: Any, step: int, latents: Tensor) -> Tensor:
        timesteps = pipe.scheduler.timesteps
        following = len(timesteps) - pipe.num_timesteps + step + 1
        left, old = max(0.0, 1 - following / len(timesteps)), clean
        if following < len(timesteps):
            old = pipe.scheduler.add_noise(clean, noise_of(own).to(clean), timesteps[following : following + 1])
        return torch.where((until > left) & (until > 0), latents, old.to(latents.dtype))

    return edit

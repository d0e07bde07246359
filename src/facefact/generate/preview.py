"""The forming picture, seen while it is made: what the model believes to be behind the noise, small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from facefact.autoencoder import decode
from facefact.generate.finite import aside

SIDE = 256  # pixels; of larger pictures the latents are shrunk, and so decoding stays cheap
SHOWN = 4  # previews come after each quarter of the steps, but for the last: then the picture is there

# (number of the picture among those asked for, what is to be seen of it)
OnPreview = Callable[[int, Image.Image], None]


class Preview:
    """Looks at the latents after every step of one call, and changes nothing.

    numbers: of the pictures in the batch. The picture is that of two steps' latents: on a straight way from noise to
    picture, x = a * picture + s * noise at both, which are two equations for the two.
    """

    def __init__(self, on_preview: OnPreview, numbers: Sequence[int], steps: int) -> None:
        self.on_preview, self.numbers = on_preview, numbers
        self.wanted = {steps * part // SHOWN - 1 for part in range(1, SHOWN)}
        self.before: Tensor | None = None

    def __call__(self, pipe: Any, step: int, latents: Tensor) -> Tensor:
        """What diffusers calls after each step, from 0; (n, c, h, w), returned as they are."""
        if step in self.wanted and self.before is not None:
            behind = behind_noise(pipe.scheduler, step, self.before, latents)
            shown = [] if behind is None else small_pictures(pipe.vae, behind)
            for number, image in zip(self.numbers, shown, strict=False):
                self.on_preview(number, image)
        self.before = latents.clone() if step + 1 in self.wanted else None
        return latents


def behind_noise(scheduler: Any, step: int, before: Tensor, after: Tensor) -> Tensor | None:
    """(n, c, h, w) twice, from before and after a step (not the last) -> the picture's latents, the same shape. Exact
    for DDIM and Euler's method; the other schedulers' ways are nearly as straight. None: the noise did not change
    (PNDM takes its second step twice)."""
    (a, s), (b, r) = noise_level(scheduler, step), noise_level(scheduler, step + 1)
    if abs(r * a - s * b) < 1e-6:
        return None
    return (r * before.float() - s * after.float()) / (r * a - s * b)


def noise_level(scheduler: Any, step: int) -> tuple[float, float]:
    """How much of the picture and how much noise is in the latents before a step: x = a * picture + s * noise."""
    if float(scheduler.init_noise_sigma) != 1:  # variance exploding, as Euler's: the noise is laid over
        return 1.0, float(scheduler.sigmas[step])
    kept = float(scheduler.alphas_cumprod[int(scheduler.timesteps[step])])
    return kept**0.5, (1 - kept) ** 0.5


@torch.no_grad()
def small_pictures(vae: Any, latents: Tensor) -> list[Image.Image]:
    """(n, c, h, w) -> RGB pictures of at most SIDE pixels, or as small as one latent's cell allows."""
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    shrink = max(1, -(-max(latents.shape[-2:]) * scale // SIDE))
    with aside():
        pixels = decode(vae, F.avg_pool2d(latents, shrink).to(vae.dtype))
    levels = ((pixels / 2 + 0.5).nan_to_num().clamp(0, 1) * 255).round().byte()
    return [Image.fromarray(one.permute(1, 2, 0).cpu().numpy()) for one in levels]

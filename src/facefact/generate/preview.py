"""The forming picture, seen while it is made: what the model believes to be behind the noise, small."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
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
    """Looks at what the model answers at some steps of one call, and changes nothing. numbers: of the pictures in the
    batch."""

    def __init__(self, on_preview: OnPreview, numbers: Sequence[int], steps: int) -> None:
        self.on_preview, self.numbers = on_preview, numbers
        self.wanted = {steps * part // SHOWN - 1 for part in range(1, SHOWN)}
        self.answer, self.latents = torch.zeros(()), torch.zeros(())

    @contextlib.contextmanager
    def watching(self, scheduler: Any) -> Iterator[None]:
        """While a pipeline is called: what its scheduler is given for each step is seen here too."""
        step = scheduler.step

        @functools.wraps(step)  # pipelines read the signature to see what it takes
        def seen(model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
            self.answer, self.latents = model_output, sample
            return step(model_output, timestep, sample, *args, **kwargs)

        scheduler.step = seen
        try:
            yield
        finally:
            del scheduler.step

    def __call__(self, pipe: Any, step: int, latents: Tensor) -> Tensor:
        """What diffusers calls after each step, from 0; (n, c, h, w), returned as they are."""
        if step in self.wanted:
            behind = behind_noise(pipe.scheduler, step, self.latents, self.answer)
            for number, image in zip(self.numbers, small_pictures(pipe.vae, behind), strict=False):
                self.on_preview(number, image)
        return latents


def behind_noise(scheduler: Any, step: int, latents: Tensor, answer: Tensor) -> Tensor:
    """The picture's latents (n, c, h, w) as the model believes them to be at a step, from those that it was shown and
    its answer (guided), both of that shape: the noise, the velocity or the picture, as the scheduler's prediction type
    says. Whatever the sampler does then, fresh noise included, is not in it."""
    a, s = noise_level(scheduler, step)
    x, answer = latents.float(), answer.float()
    kind = scheduler.config.get("prediction_type", "epsilon")
    if kind == "sample":
        return answer
    if kind == "epsilon":
        return (x - s * answer) / max(a, 1e-3)
    whole = (a * a + s * s) ** 0.5  # 1 unless the noise is laid over the picture
    return (a * x / whole - s * answer) / whole


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

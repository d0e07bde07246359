"""Pictures to latents and back, through a diffusers autoencoder in any number type.

SDXL's overflows in fp16 and says so in its config (`force_upcast`): then it computes in fp32, as diffusers' own
pipelines have it.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


@contextlib.contextmanager
def wide_enough(vae: Any, *, backwards: bool = False) -> Iterator[Any]:
    """The autoencoder, in fp32 meanwhile if it is in fp16 and its config says `force_upcast`.

    backwards: gradients will flow through it later, when its own weights are in fp16 again: then a copy in fp32.
    """
    if vae.dtype != torch.float16 or not getattr(vae.config, "force_upcast", False):
        yield vae
    elif backwards:
        yield copy.deepcopy(vae).float()
    else:
        vae.to(torch.float32)
        try:
            yield vae
        finally:
            vae.to(torch.float16)


@torch.no_grad()
def encode(vae: Any, pixels: Tensor) -> Tensor:
    """(n, 3, H, W) in [-1, 1] -> the latents that the U-Net reads, (n, c, h, w) in the autoencoder's own dtype: the
    mode of the posterior, shifted and scaled."""
    dtype = vae.dtype
    with wide_enough(vae) as wide:
        mode = wide.encode(pixels.to(wide.device, wide.dtype)).latent_dist.mode().float()
    return ((mode - _shift(vae)) * vae.config.scaling_factor).to(dtype)


def decode(vae: Any, latents: Tensor) -> Tensor:
    """(n, c, h, w) latents as the U-Net has them -> (n, 3, H, W) float32, about [-1, 1]; the reverse of `encode`, with
    gradients."""
    with wide_enough(vae, backwards=torch.is_grad_enabled() and latents.requires_grad) as wide:
        return wide.decode((latents.float() / vae.config.scaling_factor + _shift(vae)).to(wide.dtype)).sample.float()


def _shift(vae: Any) -> float:
    return getattr(vae.config, "shift_factor", None) or 0.0

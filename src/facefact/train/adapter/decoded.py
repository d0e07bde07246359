"""Latents as the base model has them, through the autoencoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def decoded(vae: Any, latents: Tensor) -> Tensor:
    """(n, c, h, w) latents as the U-Net has them -> (n, 3, H, W) float32, about [-1, 1], with gradients; the reverse of
    `encode_pictures`. vae: a diffusers AutoencoderKL, in any number type."""
    scaling, shift = vae.config.scaling_factor, vae.config.shift_factor or 0.0
    return vae.decode((latents.float() / scaling + shift).to(vae.dtype)).sample.float()

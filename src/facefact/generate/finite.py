"""Numbers that are none: fp16 overflows in some models, and diffusers turns NaN into a black picture without a word."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from facefact.types import UserError

OVERFLOW = (
    "no picture: {part} gave values that are no numbers (NaN) in {dtype}. Take --dtype bf16 or fp32, or another "
    'autoencoder with --vae; SDXL pipelines keep theirs in fp32 where vae/config.json says "force_upcast": true'
)


_aside: ContextVar[bool] = ContextVar("_aside", default=False)


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Inside, within a call that is watched, what is decoded is not the picture: a preview may overflow."""
    token = _aside.set(True)
    try:
        yield
    finally:
        _aside.reset(token)


@contextlib.contextmanager
def finite_pictures(pipe: Any) -> Iterator[None]:
    """While the pipeline is called: what its autoencoder decodes is watched.

    The check comes at the end of the call and not inside of it, so that the pipeline's own order is kept (SDXL's lowers
    the autoencoder's precision again after decoding). UserError: a decoded picture holds NaN or infinity; it names the
    part and its type.
    """
    broken: list[str] = []
    dtype = pipe.vae.dtype

    def watch(decoder: Any, inputs: tuple[Any, ...], decoded: Tensor) -> Tensor | None:
        if _aside.get() or bool(torch.isfinite(decoded).all()):
            return None
        in_latents = not bool(torch.isfinite(inputs[0]).all())
        broken.append("the U-Net (or what it reads)" if in_latents else "the autoencoder (VAE)")
        return torch.nan_to_num(decoded, posinf=0.0, neginf=0.0)  # nobody sees it; keeps NumPy from warning

    handle = pipe.vae.decoder.register_forward_hook(watch)
    try:
        yield
    finally:
        handle.remove()
    if broken:
        raise UserError(OVERFLOW.format(part=broken[0], dtype=str(dtype).removeprefix("torch.")))

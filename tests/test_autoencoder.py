"""Through the autoencoder in half precision: an overflow that its config knows of does not happen, wherever we encode
or decode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facefact.autoencoder import decode, encode
from facefact.evaluate.pictures import Painter, Sampling
from facefact.train.adapter.painted import pictures_of
from facefact.train.material.base import Base
from facefact.train.material.encode import encode_pictures


def overflow(layer: torch.nn.Module) -> None:
    """Sums in this layer leave fp16's range; the normalisation that follows makes them numbers of ordinary size."""
    with torch.no_grad():
        layer.weight.copy_(layer.weight.sign() * 3e4)


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def trained_on(pipe: Any) -> Base:
    return Base(pipe.vae, pipe.unet, (pipe.text_encoder,), (pipe.tokenizer,), pipe.scheduler)


def rebuilt(pipe: Any) -> Tensor:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    made = Painter(pipe, Sampling()).reconstruct([picture])
    return torch.from_numpy(made).float() / 127.5 - 1


WAYS: dict[str, Callable[[Any], Tensor]] = {
    "encode": lambda pipe: encode(pipe.vae, noise(1, 3, 64, 64)),
    "decode": lambda pipe: decode(pipe.vae, noise(1, 4, 8, 8)),
    "training's latents": lambda pipe: encode_pictures(trained_on(pipe), noise(1, 3, 64, 64)),
    "validation's pictures": lambda pipe: torch.from_numpy(pictures_of(pipe.vae, noise(1, 4, 8, 8))).float() / 127.5,
    "evaluation's pictures": rebuilt,
}


@pytest.mark.parametrize("name", WAYS)
@torch.no_grad()
def test_force_upcast_computes_in_full_precision(pipe: Any, name: str) -> None:
    vae, way = pipe.vae, WAYS[name]
    overflow(vae.encoder.conv_in)
    overflow(vae.decoder.conv_in)
    right = way(pipe).float()
    vae.to(torch.float16).register_to_config(force_upcast=True)
    torch.testing.assert_close(way(pipe).float(), right, rtol=0.02, atol=0.02)
    assert vae.dtype == torch.float16
    vae.register_to_config(force_upcast=False)
    assert not torch.allclose(way(pipe).float(), right, rtol=0.02, atol=0.02), "nothing overflowed"


def test_gradients_come_back_through_an_autoencoder_in_half_precision(pipe: Any) -> None:
    vae = pipe.vae.requires_grad_(False)
    given = noise(1, 4, 8, 8).requires_grad_()
    decode(vae, given).square().sum().backward()
    right, given.grad = given.grad, None
    vae.to(torch.float16).register_to_config(force_upcast=True)
    decode(vae, given).square().sum().backward()
    assert vae.dtype == torch.float16
    torch.testing.assert_close(given.grad, right, rtol=0.05, atol=0.05 * float(right.abs().max()))


@torch.no_grad()
def test_decoding_undoes_what_encoding_did_to_latents(pipe: Any) -> None:
    pipe.vae.register_to_config(shift_factor=0.3, scaling_factor=2.0)
    latents = encode(pipe.vae, noise(1, 3, 64, 64))
    mode = pipe.vae.encode(noise(1, 3, 64, 64)).latent_dist.mode()
    torch.testing.assert_close(latents, (mode - 0.3) * 2.0)
    torch.testing.assert_close(decode(pipe.vae, latents), pipe.vae.decode(mode).sample)

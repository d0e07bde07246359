"""Small real parts for the tests of the stages: a base model, its frozen data, an adapter."""

from __future__ import annotations

from typing import Any

import torch

from facefact import FaceAdapter
from facefact.encoder import ResamplerConfig, TransFace, TransFaceConfig
from facefact.train.base_model import BaseConfig, new_scheduler, new_text_encoder, new_tokenizer, new_unet
from facefact.train.fact import FactConfig, FactStage
from facefact.train.portrait_set import PortraitSet
from facefact.world import CHOICES

BASE = BaseConfig(widths=(16, 32), heads=(1, 2), latent_channels=4, text_width=32, text_layers=1)
LOOKS, TOKENS, WIDTH = 4, 16, 32


def portraits(people: int = 6) -> PortraitSet:
    """Random, but every picture can be told from every other one: token 0 of picture i is i everywhere."""
    n, draw = people * LOOKS, torch.Generator().manual_seed(4)
    tokens = torch.randn(n, TOKENS, WIDTH, generator=draw)
    tokens[:, 0] = torch.arange(n)[:, None]
    choices = [torch.randint(len(values), (n,), generator=draw) for values in CHOICES.values()]
    return PortraitSet(
        latents=torch.randn(n, 4, 16, 16, generator=draw).half(),
        tokens=tokens.half(),
        face=(torch.rand(n, 16, 16, generator=draw) * 255).byte(),
        choices=torch.stack(choices, 1).byte(),
        yaw=torch.zeros(n),
        looks=LOOKS,
    )


def base() -> tuple[Any, Any, Any]:
    """U-Net, text encoder, tokenizer."""
    torch.manual_seed(0)
    tokenizer = new_tokenizer(BASE)
    return new_unet(BASE), new_text_encoder(BASE, tokenizer), tokenizer


def fact_stage(unet: Any, text_encoder: Any, config: FactConfig, *, gate: float = 0.0) -> FactStage:
    torch.manual_seed(1)
    encoder = TransFace(TransFaceConfig(patch_size=28, width=WIDTH, depth=1, heads=2, embedding_size=16))
    resampler = ResamplerConfig(
        input_width=WIDTH, width=32, depth=1, heads=2, head_width=16, queries=4, output_width=32
    )
    adapter = FaceAdapter.new(unet, encoder=encoder, resampler_config=resampler, gate=gate)
    return FactStage(adapter, unet, text_encoder, new_scheduler(), config)

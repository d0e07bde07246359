"""The smallest real training of an adapter: what validation, leak meter and report are tested on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from facefact import FaceAdapter
from facefact.encoder import ResamplerConfig, TransFace, TransFaceConfig
from facefact.train.adapter.face_tokens import face_tokens
from facefact.train.bundle.base_model import BaseConfig, new_scheduler, new_text_encoder, new_tokenizer, new_unet
from facefact.train.engine.processes import rows
from facefact.train.losses.fair import fair

BASE = BaseConfig(widths=(16, 32), heads=(1, 2), latent_channels=4, text_width=32, text_layers=1)
TOKENS, WIDTH = 16, 32


def new_adapter(unet: nn.Module, *, gate: float, text_width: int = 32) -> FaceAdapter:
    torch.manual_seed(1)
    encoder = TransFace(TransFaceConfig(patch_size=28, width=WIDTH, depth=1, heads=2, embedding_size=16))
    resampler = ResamplerConfig(
        input_width=WIDTH, width=32, depth=1, heads=2, head_width=16, queries=4, output_width=text_width
    )
    return FaceAdapter.new(unet, encoder=encoder, resampler_config=resampler, gate=gate)


class LiveStage(nn.Module):
    """A frozen base model, an adapter attached to it in training, and their losses."""

    def __init__(self, *, gate: float = 0.5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.unet = new_unet(BASE).requires_grad_(False)
        self.scheduler = new_scheduler()
        self.adapter = new_adapter(self.unet, gate=gate).train().attach(self.unet)

    def gate_parameters(self) -> list[nn.Parameter]:
        return [alpha for _, layer in self.adapter.layers.items() for alpha in (layer.alpha_attn, layer.alpha_dense)]

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        latents = batch["latents"]
        noise = rows(lambda n: torch.randn(n, *latents.shape[1:]), len(latents))
        timesteps = rows(lambda n: torch.randint(0, 1000, (n,)), len(latents))
        condition = self.adapter.condition(face_tokens(self.adapter, batch["tokens"]), guidance=False)
        sample = self.scheduler.add_noise(latents, noise, timesteps)
        with self.adapter.record() as increments:
            predicted = self.unet(sample, timesteps, batch["text"], cross_attention_kwargs=condition).sample
        diffusion = (predicted - self.scheduler.get_velocity(latents, noise, timesteps)).square().mean()
        leaked = fair(increments, batch["face"])
        return {"loss": diffusion + 0.1 * leaked, "diffusion": diffusion, "fair": leaked}


def text_parts() -> tuple[Any, Any]:
    """Text encoder and tokenizer."""
    torch.manual_seed(3)
    tokenizer = new_tokenizer(BASE)
    return new_text_encoder(BASE, tokenizer), tokenizer


def autoencoder() -> AutoencoderKL:
    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        latent_channels=4,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )


def samples(n: int, *, seed: int = 4) -> dict[str, Tensor]:
    """A batch as `conditions.batches` makes it, random; two pictures of each person in the condition."""
    draw = torch.Generator().manual_seed(seed)
    return {
        "latents": torch.randn(n, 4, 16, 16, generator=draw),
        "face": torch.rand(n, 16, 16, generator=draw),
        "tokens": torch.randn(n, 2, TOKENS, WIDTH, generator=draw),
        "face_dropped": torch.zeros(n, dtype=torch.bool),
        "text": torch.randn(n, 7, 32, generator=draw),
    }


def batches(step: int) -> Iterator[dict[str, Tensor]]:
    while True:
        yield samples(4, seed=step)
        step += 1

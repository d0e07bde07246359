"""Everything frozen that the adapter's training stands on: autoencoder, text models, U-Net, scheduler, face encoder."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn

from facefact import checkpoint
from facefact.encoder import TransFace

BUNDLE = "bundle"  # as a source in the settings: the embedded model


@dataclass
class Base:
    """A base model. Text models and U-Net are of the settings' type; the autoencoder stays in float32: what it makes is
    cached once and learned from many times, and SDXL's overflows in fp16.

    text_encoders, tokenizers: one (Stable Diffusion) or two (SDXL). scheduler: says how to noise, and what the U-Net
    predicts (`scheduler.config.prediction_type`: epsilon or v_prediction).
    """

    vae: AutoencoderKL
    unet: UNet2DConditionModel
    text_encoders: tuple[Any, ...]
    tokenizers: tuple[Any, ...]
    scheduler: DDIMScheduler

    @property
    def is_xl(self) -> bool:
        """Whether the U-Net reads pooled text and the picture's sizes besides."""
        return self.unet.config.addition_embed_type == "text_time"

    @property
    def factor(self) -> int:
        """Pixels of a latent cell's side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def multiple(self) -> int:
        """Pixels of a cell's side at the U-Net's lowest resolution: of what a picture's sides are multiples."""
        return int(self.factor * 2 ** (len(self.unet.config.down_block_types) - 1))

    def modules(self) -> tuple[nn.Module, ...]:
        return (self.vae, self.unet, *self.text_encoders)


@dataclass
class Frozen(Base):
    """The base model and the face encoder (float32). Nothing of it learns."""

    encoder: TransFace = field(kw_only=True)

    def modules(self) -> tuple[nn.Module, ...]:
        return (*super().modules(), self.encoder)

    def to(self, device: torch.device | str) -> Frozen:
        for module in self.modules():
            module.to(device)
        return self

    @property
    def device(self) -> torch.device:
        return self.encoder.pos_embed.device

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of what decides latents, tokens and text states (vae, encoder, text); computed once."""
        text = {f"{i}.{k}": v for i, one in enumerate(self.text_encoders) for k, v in one.state_dict().items()}
        words = json.dumps([[sorted(one.get_vocab()), one.model_max_length] for one in self.tokenizers])
        scale = f"{self.vae.config.scaling_factor} {self.vae.config.shift_factor}"
        return {
            "vae": f"{checkpoint.content_hash(self.vae.state_dict())} {scale}",
            "encoder": checkpoint.content_hash(self.encoder.state_dict()),
            "text": f"{checkpoint.content_hash(text)} {zlib.crc32(words.encode()):08x}",
        }


@contextmanager
def on_device(frozen: Frozen, device: torch.device | str) -> Iterator[Frozen]:
    """Autoencoder, text models and encoder on a device for as long as a cache is filled; the U-Net stays."""
    parts = (frozen.vae, frozen.encoder, *frozen.text_encoders)
    before = frozen.device
    try:
        for part in parts:
            part.to(device)
        yield frozen
    finally:
        for part in parts:
            part.to(before)


def with_noise_levels(config: Mapping[str, Any]) -> DDIMScheduler:
    """A scheduler that noises, gives velocities and samples, with the noise levels of another one's configuration."""
    return DDIMScheduler.from_config(dict(config) | {"clip_sample": False})

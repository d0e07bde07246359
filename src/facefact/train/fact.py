"""The adapter's training: diffusion loss + FAIR with face-condition drop; the shuffle is in `portrait_set.batches`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from facefact.face_adapter import FaceAdapter
from facefact.train.base_model import noisy, spread_timesteps
from facefact.train.fair import fair
from facefact.types import FaceTokens


@dataclass(frozen=True)
class FactConfig:
    """fair: the weight lambda; fair_from: the step that it starts at (closed gates must open first: FAIR on a closed
    gate only pulls it shut). face_weight: how much more the diffusion loss counts inside the face."""

    fair: float = 0.1
    fair_from: int = 918
    increment: Literal["attention", "whole"] = "whole"
    face_weight: float = 3.0


class FactStage(nn.Module):
    """Base model frozen, adapter attached to it."""

    step: Tensor

    def __init__(
        self, adapter: FaceAdapter, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, scheduler: DDIMScheduler,
        config: FactConfig,
    ):  # fmt: skip
        super().__init__()
        self.unet, self.text_encoder = unet.requires_grad_(False), text_encoder.requires_grad_(False)
        self.adapter, self.scheduler, self.config = adapter.train(), scheduler, config
        adapter.attach(unet)
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch: see `portrait_set.batches`."""
        latents, face, dropped = batch["latents"], batch["face"], batch["face_dropped"]
        timesteps = spread_timesteps(len(latents), latents.device)
        sample, velocity = noisy(self.scheduler, latents, timesteps)
        local = batch["tokens"] * ~dropped[:, None, None]  # the published null face: all-zero encoder tokens
        tokens = self.adapter.resampler(local)
        with torch.no_grad():
            words = self.text_encoder(batch["ids"])[0]
        condition = self.adapter.condition(FaceTokens(tokens, tokens), guidance=False)
        with self.adapter.record() as increments:
            predicted = self.unet(sample, timesteps, words, cross_attention_kwargs=condition).sample.float()
        weight = 1 + (self.config.face_weight - 1) * face[:, None]
        diffusion = ((predicted - velocity).square() * weight).mean() / weight.mean()
        leaked = fair(increments, face, self.config.increment)
        strength = self.config.fair * float(self.step >= self.config.fair_from)
        self.step += 1
        gates = torch.stack(
            [g.detach().tanh().abs() for n, g in self.adapter.named_parameters() if "alpha_" in n]
        ).mean()
        return {"loss": diffusion + strength * leaked, "diffusion": diffusion, "fair": leaked, "gates": gates}

"""A pipeline that draws with the parts that are being trained on."""

from __future__ import annotations

from typing import Any

from torch import nn


def live_pipeline(
    *,
    unet: nn.Module,
    vae: nn.Module,
    scheduler: Any,
    text_encoder: nn.Module,
    tokenizer: Any,
    text_encoder_2: nn.Module | None = None,
    tokenizer_2: Any = None,
) -> Any:
    """A stock pipeline around parts that live elsewhere: Stable Diffusion, or XL where there are two text encoders.
    The scheduler is a copy: sampling sets it up anew."""
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    own = type(scheduler).from_config(scheduler.config)
    parts = {"unet": unet, "vae": vae, "scheduler": own, "text_encoder": text_encoder, "tokenizer": tokenizer}
    if text_encoder_2 is not None:
        return StableDiffusionXLPipeline(
            **parts, text_encoder_2=text_encoder_2, tokenizer_2=tokenizer_2, add_watermarker=False
        )
    return StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)

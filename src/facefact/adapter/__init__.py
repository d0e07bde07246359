"""Gated self-attention layers inside a diffusers model: attach, detach, record."""

from facefact.adapter.host import (
    Attachment,
    FaceCondition,
    Increment,
    attach,
    denoiser,
    detach,
    layer_configs,
    text_width,
)
from facefact.adapter.layer import AdapterLayers, GatedSelfAttention, LayerConfig

__all__ = [
    "AdapterLayers",
    "Attachment",
    "FaceCondition",
    "GatedSelfAttention",
    "Increment",
    "LayerConfig",
    "attach",
    "denoiser",
    "detach",
    "layer_configs",
    "text_width",
]

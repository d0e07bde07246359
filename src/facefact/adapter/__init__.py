"""Gated self-attention layers inside a diffusers model: attach, detach, record."""

from facefact.adapter.host import (
    Attachment,
    FaceCondition,
    Increment,
    attach,
    denoiser,
    detach,
    layer_configs,
    make_condition,
    text_width,
)
from facefact.adapter.layer import AdapterLayers, FaceKeys, GatedSelfAttention, LayerConfig
from facefact.adapter.processor import fast_attention

__all__ = [
    "AdapterLayers",
    "Attachment",
    "FaceCondition",
    "FaceKeys",
    "GatedSelfAttention",
    "Increment",
    "LayerConfig",
    "attach",
    "denoiser",
    "detach",
    "fast_attention",
    "layer_configs",
    "make_condition",
    "text_width",
]

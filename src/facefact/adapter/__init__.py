"""Gated self-attention layers inside a diffusers model: attach, detach, record."""

from facefact.adapter.fast import fast_kernels
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
from facefact.adapter.local import Local

__all__ = [
    "AdapterLayers",
    "Attachment",
    "FaceCondition",
    "FaceKeys",
    "GatedSelfAttention",
    "Increment",
    "LayerConfig",
    "Local",
    "attach",
    "denoiser",
    "detach",
    "fast_kernels",
    "layer_configs",
    "make_condition",
    "text_width",
]

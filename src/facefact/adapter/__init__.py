"""Gated self-attention layers inside a diffusers model: attach, detach, record."""

from facefact.adapter.attachment import Attachment
from facefact.adapter.condition import FaceCondition, Increment, make_condition
from facefact.adapter.denoiser import denoiser
from facefact.adapter.fast import fast_kernels
from facefact.adapter.layer import AdapterLayers, FaceKeys, GatedSelfAttention, LayerConfig
from facefact.adapter.local import Local
from facefact.adapter.regions import Region
from facefact.adapter.seam import Seam, chosen, token_width
from facefact.adapter.unet_seam import UNET, attach, detach, layer_configs, text_width

__all__ = [
    "UNET",
    "AdapterLayers",
    "Attachment",
    "FaceCondition",
    "FaceKeys",
    "GatedSelfAttention",
    "Increment",
    "LayerConfig",
    "Local",
    "Region",
    "Seam",
    "attach",
    "chosen",
    "denoiser",
    "detach",
    "fast_kernels",
    "layer_configs",
    "make_condition",
    "text_width",
    "token_width",
]

"""Base models of the published shapes with random weights: full size without a download."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from tokenizers import pre_tokenizers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from facefact.train.material.frozen import Base, with_noise_levels
from facefact.types import UserError

SD_TEXT = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
XL_TEXT = {
    "vocab_size": 49408,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
SD_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "sample_size": 512,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
TINY_TEXT = {
    "vocab_size": 514,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "projection_dim": 32,
}
TINY_VAE = SD_VAE | {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4}
TINY_UNET = {
    "sample_size": 8,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "attention_head_dim": (2, 4),
    "down_block_types": ("CrossAttnDownBlock2D",) * 2,
    "up_block_types": ("CrossAttnUpBlock2D",) * 2,
}
TINY_XL_TEXT = TINY_TEXT | {"hidden_size": 48, "projection_dim": 48, "hidden_act": "gelu"}
TINY_XL_UNET = TINY_UNET | {
    "cross_attention_dim": 80,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 48,
}


@dataclass(frozen=True)
class Shape:
    """The sizes of a base model, as the arguments of diffusers' and transformers' classes. text: one or two models."""

    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text: tuple[Mapping[str, Any], ...]


SHAPES: Mapping[str, Shape] = {
    "sd15": Shape(
        {
            "sample_size": 64,
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
            "block_out_channels": (320, 640, 1280, 1280),
        },
        SD_VAE | {"scaling_factor": 0.18215},
        (SD_TEXT,),
    ),
    "sdxl": Shape(
        {
            "sample_size": 128,
            "cross_attention_dim": 2048,
            "attention_head_dim": (5, 10, 20),
            "block_out_channels": (320, 640, 1280),
            "transformer_layers_per_block": (1, 2, 10),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        SD_VAE | {"scaling_factor": 0.13025, "sample_size": 1024},
        (SD_TEXT, XL_TEXT),
    ),
    "tiny": Shape(TINY_UNET | {"cross_attention_dim": 32}, TINY_VAE, (TINY_TEXT,)),
    "tiny-xl": Shape(
        TINY_XL_UNET,
        TINY_VAE,
        (TINY_TEXT, TINY_XL_TEXT),
    ),
    "slim-xl": Shape(  # SDXL's blocks by number and name, thin
        TINY_XL_UNET
        | {
            "block_out_channels": (8, 16, 32),
            "layers_per_block": 2,
            "attention_head_dim": (1, 2, 4),
            "transformer_layers_per_block": (1, 1, 2),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        },
        TINY_VAE,
        (TINY_TEXT, TINY_XL_TEXT),
    ),
}


def random_base(name: str, dtype: torch.dtype) -> Base:
    """A base model of a published shape with random weights, always the same ones: it proves memory and speed.

    UserError: no shape has this name."""
    if name not in SHAPES:
        raise UserError(f"base.source: no shape is called {name!r}; random: has {', '.join(SHAPES)}")
    tokenizer = byte_tokenizer()
    vae, unet, text = empty_parts(SHAPES[name], tokenizer)
    config = {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "steps_offset": 1,
        "set_alpha_to_one": False,
    }
    return Base(
        vae=filled(vae, torch.float32),
        unet=filled(unet, dtype),
        text_encoders=tuple(filled(one, dtype) for one in text),
        tokenizers=(tokenizer,) * len(text),
        scheduler=with_noise_levels(config),
    )


def empty_parts(shape: Shape, tokenizer: Any) -> tuple[Any, Any, list[Any]]:
    """Autoencoder, U-Net and text models (float32) on the meta device, which holds shapes and no numbers."""
    ids = {f"{end}_token_id": getattr(tokenizer, f"{end}_token_id") for end in ("bos", "eos", "pad")}
    kinds = (CLIPTextModel, CLIPTextModelWithProjection)
    with torch.device("meta"):
        text = [kind(CLIPTextConfig(**one, **ids)) for kind, one in zip(kinds, shape.text, strict=False)]
        return AutoencoderKL(**shape.vae), UNet2DConditionModel(**shape.unet), text


def byte_tokenizer() -> CLIPTokenizer:
    """A tokenizer in CLIP's form whose words are single bytes: any text, no file from anywhere."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77)


def filled(module: Any, dtype: torch.dtype) -> Any:
    """A module of the meta device in memory, without the minutes of a proper initialisation: matrices of one stretch of
    noise, again and again from another place, scaled by their inputs; norms 1, biases 0."""
    module = nn.Module.to(module, dtype).to_empty(device="cpu")  # (diffusers' own `to` warns of what it does not keep)
    noise = torch.randn(65537, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("position_ids"):
                tensor.copy_(torch.arange(tensor.numel()).view_as(tensor))
            elif tensor.ndim > 1:
                own = (noise.roll(zlib.crc32(name.encode()) % len(noise)) * 0.5 * tensor[0].numel() ** -0.5).to(dtype)
                whole = tensor.numel() // len(own) * len(own)
                tensor.view(-1)[:whole].view(-1, len(own)).copy_(own)
                tensor.view(-1)[whole:].copy_(own[: tensor.numel() - whole])
            else:
                tensor.fill_(float(name.endswith(("weight", "var"))))
    return module

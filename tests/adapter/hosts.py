"""Small real hosts of every kind, and a small adapter for each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from facefact import FaceAdapter, FaceTokens
from facefact.adapter import text_width
from facefact.encoder import ResamplerConfig, TransFace, TransFaceConfig

BLOCKS = {
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "sample_size": 8,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
HOSTS: dict[str, dict[str, Any]] = {
    "sd15": {"cross_attention_dim": 12, "attention_head_dim": 2},
    "sd2": {"cross_attention_dim": 20, "attention_head_dim": (2, 4), "use_linear_projection": True},
    "inpainting": {"cross_attention_dim": 12, "attention_head_dim": 4, "in_channels": 9},
    "uneven heads": {"cross_attention_dim": 12, "attention_head_dim": 5},  # 16 / 5: inner width 15
    "sdxl": {
        "cross_attention_dim": 24,
        "attention_head_dim": (2, 4),
        "use_linear_projection": True,
        "transformer_layers_per_block": (1, 3),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 6 * 4 + 10,
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    },
}


def make_host(kind: str = "sd15", **changes: Any) -> Any:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(1)
    return UNet2DConditionModel(**BLOCKS | {"in_channels": 4, "out_channels": 4} | HOSTS[kind] | changes).eval()


def make_adapter(host: Any, *, gate: float = 1.0, seed: int = 2) -> FaceAdapter:
    """For use, with gates wide open, so that its effect is large."""
    torch.manual_seed(seed)
    encoder = TransFace(TransFaceConfig(patch_size=56, width=8, depth=1, heads=2, embedding_size=4))
    resampler = ResamplerConfig(
        input_width=8, width=8, depth=1, heads=2, head_width=4, queries=3, output_width=text_width(host)
    )
    return FaceAdapter.new(host, encoder=encoder, resampler_config=resampler, gate=gate).eval()


def make_tokens(adapter: FaceAdapter, *, people: int = 1, seed: int = 3) -> FaceTokens:
    generator = torch.Generator().manual_seed(seed)
    c = adapter.resampler.config
    face, null = torch.randn((2, people, c.queries, c.output_width), generator=generator)
    return FaceTokens(face=face, null=null)


def run(host: Any, *, batch: int = 2, **kwargs: Any) -> Tensor:
    """One call of the U-Net on fixed inputs; every row of the batch has the same ones."""
    generator = torch.Generator().manual_seed(4)
    c = host.config
    sample = torch.randn((1, c.in_channels, 8, 8), generator=generator).expand(batch, -1, -1, -1)
    text = torch.randn((1, 7, c.cross_attention_dim), generator=generator).expand(batch, -1, -1)
    if c.addition_embed_type:
        kwargs["added_cond_kwargs"] = {"text_embeds": torch.ones(batch, 10), "time_ids": torch.ones(batch, 6)}
    dtype = host.dtype
    kwargs = {"timestep": 500} | kwargs
    return host(sample.to(dtype), encoder_hidden_states=text.to(dtype), **kwargs).sample


def anatomy(model: torch.nn.Module) -> dict[str, Any]:
    """All that can be seen of a model from outside: attributes, hooks, parameters."""
    return {
        name: (sorted(vars(module)), list(module._modules), len(module._forward_pre_hooks), len(module._forward_hooks))
        for name, module in model.named_modules()
    } | {name: (id(value), value._version) for name, value in model.state_dict(keep_vars=True).items()}

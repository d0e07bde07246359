"""A pipeline of diffusers as the first Stable Diffusion code named its weights: what diffusers' converters undo."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from torch import Tensor

UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
VAE = {"conv_norm_out": "norm_out", "conv_shortcut": "nin_shortcut"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def as_one_file(pipe: Any) -> dict[str, Tensor]:
    """The weights of an SD1.5-like pipeline."""
    layers = pipe.unet.config.layers_per_block
    unet = {f"model.diffusion_model.{_unet(k, layers)}": v for k, v in pipe.unet.state_dict().items()}
    text = pipe.text_encoder.state_dict().items()
    prefix = "cond_stage_model.transformer.text_model."
    return (
        unet
        | {f"first_stage_model.{k}": v for k, v in autoencoder_as_one_file(pipe.vae).items()}
        | {f"{prefix}{k.removeprefix('text_model.')}": v for k, v in text}
    )


def _unet(key: str, layers: int) -> str:
    name, _, kind = key.rpartition(".")
    if name in UNET:
        return f"{UNET[name]}.{kind}"
    side, block, rest = re.fullmatch(r"(down|mid|up)_blocks?\.(?:(\d+)\.(?=\D))?(.*)", key).groups()
    part, number, rest = rest.split(".", 2)
    if part == "resnets":
        rest = re.sub(r"^\w+", lambda found: RESNET[found.group()], rest)
    if side == "mid":
        return f"middle_block.{1 if part == 'attentions' else 2 * int(number)}.{rest}"
    first = (layers + 1) * int(block)
    if part == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.{rest.replace('conv', 'op')}"
    if part == "upsamplers":
        return f"output_blocks.{first + layers}.2.{rest}"
    place = first + int(number) + (side == "down")
    return f"{'input' if side == 'down' else 'output'}_blocks.{place}.{int(part == 'attentions')}.{rest}"


def autoencoder_as_one_file(vae: Any) -> dict[str, Tensor]:
    state, last = {}, len(vae.config.block_out_channels) - 1
    for key, value in vae.state_dict().items():
        for ours, theirs in VAE.items():
            key = key.replace(ours, theirs)
        if "attentions" in key:
            for ours, theirs in VAE_ATTENTION.items():
                key = key.replace(f".{ours}.", f".{theirs}.")
            value = value[..., None, None] if value.ndim == 2 else value
        key = key.replace("mid_block.attentions.0", "mid.attn_1").replace("samplers.0", "sample")
        key = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", key)
        key = re.sub(r"up_blocks\.(\d)", lambda found: f"up.{last - int(found[1])}", key)
        state[key.replace("down_blocks", "down").replace("resnets", "block")] = value.contiguous()
    return state


def configs_of(directory: Path) -> dict[str, Any]:
    """Every JSON file of a saved pipeline, by its name inside."""
    return {path.relative_to(directory).as_posix(): json.loads(path.read_text()) for path in directory.rglob("*.json")}

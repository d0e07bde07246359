"""Read the architecture of a published encoder or resampler off its tensors.

The parameter names are ours already. What the shapes do not tell, the width of an attention head, is the published one
unless the caller knows better.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from facefact import checkpoint
from facefact.encoder.resampler import Resampler, ResamplerConfig
from facefact.encoder.transface import TransFace, TransFaceConfig
from facefact.types import UserError

PUBLISHED_HEAD_WIDTH = 64  # of TransFace-S and of the resampler


def encoder_from_state(
    state: Mapping[str, Tensor], *, source: str | Path, config: TransFaceConfig | None = None
) -> TransFace:
    """TransFace from the published `.pt`, in float32. config: None to read it off the shapes (`transface_config`)."""
    with torch.device("meta"):
        encoder = TransFace(config or transface_config(state, source=source))
    checkpoint.load_strictly(encoder, state, source=source, dtype=torch.float32)
    return encoder


def resampler_from_state(
    state: Mapping[str, Tensor], *, source: str | Path, config: ResamplerConfig | None = None
) -> Resampler:
    """The resampler from its part of the published `.ckpt`, in float32. config: None to read it off the shapes
    (`resampler_config`)."""
    with torch.device("meta"):
        resampler = Resampler(config or resampler_config(state, source=source))
    checkpoint.load_strictly(resampler, state, source=source, dtype=torch.float32)
    return resampler


def transface_config(state: Mapping[str, Tensor], *, source: str | Path = "the encoder") -> TransFaceConfig:
    """Read off the shapes: patch_embed.proj.weight (width, 3, patch, patch), blocks.0.mlp.fc1.weight (hidden, width),
    feature.2.weight (embedding, width), pos_embed (1, tokens, width), and the number of blocks.

    source: the file, for errors. UserError: one of them is missing, or they do not fit together.
    """
    try:
        width, _, patch, _ = state["patch_embed.proj.weight"].shape
        hidden = state["blocks.0.mlp.fc1.weight"].shape[0]
        config = TransFaceConfig(
            patch_size=patch,
            width=width,
            depth=_count(state, "blocks."),
            heads=max(1, width // PUBLISHED_HEAD_WIDTH),
            mlp_ratio=hidden / width,
            embedding_size=state["feature.2.weight"].shape[0],
        )
        tokens = state["pos_embed"].shape[1]
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{source} is not a TransFace encoder: {error} is missing or of another shape") from error
    if tokens != config.tokens:
        raise UserError(f"{source}: {tokens} positions do not fit patches of {patch} px in {config.image_size} px")
    return config


def resampler_config(state: Mapping[str, Tensor], *, source: str | Path = "the adapter") -> ResamplerConfig:
    """Read off the shapes: latents (1, queries, width), proj_in.weight (width, input width), proj_out.weight (output
    width, width), layers.0.0.to_q.weight (inner width, width), layers.0.1.1.weight (hidden, width), and the number of
    layers.

    source: the file, for errors. UserError: one of them is missing.
    """
    try:
        _, queries, width = state["latents"].shape
        inner = state["layers.0.0.to_q.weight"].shape[0]
        head_width = min(PUBLISHED_HEAD_WIDTH, inner)
        return ResamplerConfig(
            input_width=state["proj_in.weight"].shape[1],
            width=width,
            depth=_count(state, "layers."),
            heads=inner // head_width,
            head_width=head_width,
            queries=queries,
            output_width=state["proj_out.weight"].shape[0],
            ff_mult=state["layers.0.1.1.weight"].shape[0] // width,
        )
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{source} has no resampler of the published form: {error} is missing or wrong") from error


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many different names follow the prefix, as in `blocks.<0>`."""
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})

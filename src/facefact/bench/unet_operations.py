"""How many operations a call of the U-Net takes, with a face in it and without: a formula, and PyTorch's own count.

A layer of the adapter of width c (its attention's too), for b rows of n latent tokens and m face tokens of width t:

    projections   q, k, v and out of the latents   8 b n c^2           in every call
    attention     scores, and the weighted values  4 b n (n + m) c     in every call
    feed-forward  GEGLU: c -> 8 c, and 4 c -> c    24 b n c^2          in every call
    face keys     Linear(face), its k and its v    m (2 t c + 4 c^2)   once for each portrait and row of face tokens

Local mode asks for a of the n tokens, and of the n it sees s, for the others are seen as means:
4 b (a + s) c^2, 4 b a (s + m) c, 24 b a c^2.

A multiplication and the addition after it are two operations; norms, gates and sums are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from facefact.adapter import LayerConfig
from facefact.bench.random_models import QUERIES, new_adapter, new_unet, on_meta, shape_of
from facefact.types import FaceTokens


class Part(NamedTuple):
    """How many of a layer's tokens local mode works for, and how many it sees (means counted too)."""

    asking: int
    seen: int


def layer_operations(config: LayerConfig, *, rows: int, face: int, part: Part) -> dict[str, int]:
    """What one layer does in a call. face: m, the face tokens of a row. part: in exact mode n and n."""
    c, inner = config.width, config.inner_width or config.width
    return {
        "projections": 4 * rows * (part.asking + part.seen) * c * inner,
        "attention": 4 * rows * part.asking * (part.seen + face) * inner,
        "feed-forward": 6 * rows * part.asking * c * config.ff_mult * c,
    }


@dataclass(frozen=True)
class Counted:
    """Operations of a call as PyTorch counts them (matrix products, convolutions, attention): of the base, of exact
    mode, and of its face keys. layers: of each block its layer and how many latent tokens it has."""

    base: int
    exact: int
    keys: int
    layers: dict[str, tuple[LayerConfig, int]]

    def formula(self, *, rows: int, face: int, parts: Mapping[int, Part] | None = None) -> dict[str, int]:
        """The same by the formula: what the adapter adds to a call, over all layers. parts: of local mode, by the
        number of a layer's tokens."""
        layers = [
            layer_operations(config, rows=rows, face=face, part=(parts or {}).get(n, Part(n, n)))
            for config, n in self.layers.values()
        ]
        return {name: sum(one[name] for one in layers) for name in layers[0]}


@cache
@torch.no_grad()
def counted(shape: str, size: int, *, rows: int, face: int = QUERIES) -> Counted:
    """Of one call at `size` pixels for `rows` rows, counted on tensors without memory: a moment at any size."""
    unet: Any = on_meta(lambda: new_unet(shape_of(shape))).eval()
    adapter = on_meta(lambda: new_adapter(unet)).eval().attach(unet)
    width, side = unet.config.cross_attention_dim, size // 8
    with torch.device("meta"):
        inputs = torch.empty(rows, unet.config.in_channels, side, side), 500, torch.empty(rows, 77, width)
        added = {"text_embeds": torch.empty(rows, 1280), "time_ids": torch.empty(rows, 6)}
        tokens = FaceTokens(*torch.empty(2, rows, face, width))
        with FlopCounterMode(display=False) as keys:
            condition = adapter.condition(tokens, guidance=False)
        with FlopCounterMode(display=False) as base:
            unet(*inputs, added_cond_kwargs=added)
        with FlopCounterMode(display=False) as exact, adapter.record() as increments:
            unet(*inputs, added_cond_kwargs=added, cross_attention_kwargs=condition)
    layers = {one.block: (adapter.layers.configs[one.block], one.entering.shape[1]) for one in increments}
    return Counted(base.get_total_flops(), exact.get_total_flops(), keys.get_total_flops(), layers)

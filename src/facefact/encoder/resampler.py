"""The resampler ("attention query" in the paper): learned queries read the encoder's tokens into tokens of the text
width.

The Perceiver resampler of Flamingo (Alayrac et al. 2022), in the form of IP-Adapter (Ye et al. 2023): keys and values
over [tokens ; latents], pre-norm, no bias inside the layers. Parameter names are those of the published weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ResamplerConfig:
    """Architecture; the defaults are the published ones for SD1.5. Widths in channels."""

    input_width: int = 512
    width: int = 1024
    depth: int = 4
    heads: int = 12
    head_width: int = 64
    queries: int = 16
    output_width: int = 768
    ff_mult: int = 4


class PerceiverAttention(nn.Module):
    """The latents ask, tokens and latents answer. norm1 is for the tokens, norm2 for the latents."""

    def __init__(self, config: ResamplerConfig) -> None:
        super().__init__()
        inner = config.heads * config.head_width
        self.heads = config.heads
        self.norm1 = nn.LayerNorm(config.width)
        self.norm2 = nn.LayerNorm(config.width)
        self.to_q = nn.Linear(config.width, inner, bias=False)
        self.to_kv = nn.Linear(config.width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, config.width, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """x: (n, tokens, width), latents: (n, queries, width) -> (n, queries, width)."""
        x, latents = self.norm1(x), self.norm2(latents)
        q = self._split(self.to_q(latents))
        k, v = map(self._split, self.to_kv(torch.cat([x, latents], dim=1)).chunk(2, dim=-1))
        root = q.shape[-1] ** -0.25  # the scale is split over q and k: safer in half precision
        weight = ((q * root) @ (k * root).transpose(-2, -1)).float().softmax(dim=-1).to(v.dtype)
        return self.to_out((weight @ v).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(n, tokens, heads * head_width) -> (n, heads, tokens, head_width)"""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


def _feed_forward(config: ResamplerConfig) -> nn.Sequential:
    hidden = config.width * config.ff_mult
    return nn.Sequential(
        nn.LayerNorm(config.width),
        nn.Linear(config.width, hidden, bias=False),
        nn.GELU(),
        nn.Linear(hidden, config.width, bias=False),
    )


class Resampler(nn.Module):
    """The encoder's tokens of each face -> `queries` tokens of the text's width."""

    def __init__(self, config: ResamplerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ResamplerConfig()
        self.latents = nn.Parameter(torch.randn(1, config.queries, config.width) / config.width**0.5)
        self.proj_in = nn.Linear(config.input_width, config.width)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(config), _feed_forward(config)]) for _ in range(config.depth)
        )
        self.proj_out = nn.Linear(config.width, config.output_width)
        self.norm_out = nn.LayerNorm(config.output_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (n, tokens, input_width) -> (n, queries, output_width)."""
        x = self.proj_in(tokens)
        latents = self.latents.expand(len(x), -1, -1)
        for attention, feed_forward in self._pairs():
            latents = latents + attention(x, latents)
            latents = latents + feed_forward(latents)
        return self.norm_out(self.proj_out(latents))

    def _pairs(self) -> Iterator[tuple[nn.Module, nn.Module]]:
        return ((layer[0], layer[1]) for layer in self.layers)  # type: ignore[index]

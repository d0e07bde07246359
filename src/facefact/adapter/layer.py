"""The face adapter's layer: gated self-attention over [latents ; face], as in GLIGEN (Li et al. 2023, eq. 8).

    f = Linear(face)
    x = x + s * tanh(alpha_attn)  * SelfAttention(LN1([x ; f]))[:, :len(x)]
    x = x + s * tanh(alpha_dense) * FeedForward(LN2(x))

Parameter names are those of the published weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facefact.types import UserError

Scale = float | Tensor


@dataclass(frozen=True)
class LayerConfig:
    """Architecture of one layer; all of it is read off the block that hosts it.

    width: channels of the block. token_width: of the face tokens, which is the text's. inner_width: of q, k and v
    together; None: as width. heads: None where a file does not say: then the host's.
    """

    width: int
    token_width: int
    heads: int | None = None
    inner_width: int | None = None
    ff_mult: int = 4


class FaceAttention(nn.Module):
    """Self-attention over [x ; f] of which only x's rows are asked for: the same numbers, fewer queries."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        inner = config.inner_width or config.width
        self.heads = config.heads
        self.to_q = nn.Linear(config.width, inner, bias=False)
        self.to_k = nn.Linear(config.width, inner, bias=False)
        self.to_v = nn.Linear(config.width, inner, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(inner, config.width)])

    def forward(self, x: Tensor, f: Tensor) -> Tensor:
        """x: (b, n, width), f: (r, m, width) with b a multiple of r -> (b, n, width)."""
        if self.heads is None:
            raise RuntimeError("the number of heads is the host block's: attach the adapter or set `heads`")
        q = self._split(self.to_q(x))
        k = self._split(torch.cat([self.to_k(x), fill_batch(self.to_k(f), len(x))], dim=1))
        v = self._split(torch.cat([self.to_v(x), fill_batch(self.to_v(f), len(x))], dim=1))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.to_out[0](y.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # type: ignore[arg-type]  # (b, heads, n, head width)


class GEGLU(nn.Module):
    """first half * gelu(second half), the erf form of GELU (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        hidden = config.width * config.ff_mult
        # The identity keeps the published place of the second projection (a dropout stands there).
        self.net = nn.Sequential(GEGLU(config.width, hidden), nn.Identity(), nn.Linear(hidden, config.width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class GatedSelfAttention(nn.Module):
    """One layer. Its gates start closed (0): a fresh adapter changes nothing."""

    def __init__(self, config: LayerConfig, *, gate: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.token_width, config.width)
        self.attn = FaceAttention(config)
        self.ff = FeedForward(config)
        self.norm1 = nn.LayerNorm(config.width)
        self.norm2 = nn.LayerNorm(config.width)
        self.alpha_attn = nn.Parameter(torch.tensor(float(gate)))
        self.alpha_dense = nn.Parameter(torch.tensor(float(gate)))

    def forward(self, x: Tensor, face: Tensor, *, scale: Scale = 1.0) -> Tensor:
        """x: (b, n, width) latent tokens, face: (r, m, token_width), b a multiple of r -> (b, n, width)."""
        attention, dense = self.increments(x, face, scale=scale)
        return x + attention + dense

    def increments(self, x: Tensor, face: Tensor, *, scale: Scale = 1.0) -> tuple[Tensor, Tensor]:
        """What the attention adds to x, and what the feed-forward then adds: each (b, n, width) in x's type.

        scale: a number, or a tensor with one number, or one per row of `face` or of `x`.
        """
        dtype = self.linear.weight.dtype
        if torch.is_tensor(scale):
            scale = fill_batch(scale.to(x.device, dtype).reshape(-1, 1, 1), len(x))
        y, f = x.to(dtype), self.linear(face.to(x.device, dtype))
        attention = scale * self.alpha_attn.tanh() * self.attn(self.norm1(y), self.norm1(f))
        y = y + attention
        dense = scale * self.alpha_dense.tanh() * self.ff(self.norm2(y))
        return attention.to(x.dtype), dense.to(x.dtype)


class AdapterLayers(nn.Module):
    """The layers of one adapter, each at the name of the block that hosts it, so that parameters are called
    `<block>.<parameter>`."""

    def __init__(self, configs: Mapping[str, LayerConfig], *, gate: float = 0.0) -> None:
        super().__init__()
        self.configs = dict(configs)
        for name, config in self.configs.items():
            *path, last = name.split(".")
            node: nn.Module = self
            for part in path:
                if part not in node._modules:
                    node.add_module(part, nn.Module())
                node = node.get_submodule(part)
            node.add_module(last, GatedSelfAttention(config, gate=gate))

    def __getitem__(self, name: str) -> GatedSelfAttention:
        layer = self.get_submodule(name)
        assert isinstance(layer, GatedSelfAttention)
        return layer

    def __len__(self) -> int:
        return len(self.configs)

    def items(self) -> Iterator[tuple[str, GatedSelfAttention]]:
        """Block names and their layers."""
        return ((name, self[name]) for name in self.configs)


def fill_batch(rows: Tensor, batch: int) -> Tensor:
    """Repeat each row so that there are `batch` of them: [neg, pos] -> [neg, neg, pos, pos], the order in which
    diffusers lays out guidance, prompts and images per prompt."""
    if len(rows) == batch:
        return rows
    if batch % len(rows):
        raise UserError(
            f"the face condition has {len(rows)} rows and the model runs a batch of {batch}: use guidance=True "
            "exactly when the pipeline guides (guidance_scale > 1), and as many people as prompts"
        )
    return rows.repeat_interleave(batch // len(rows), dim=0)

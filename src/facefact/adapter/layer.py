"""The face adapter's layer: gated self-attention over [latents ; face], as in GLIGEN (Li et al. 2023, eq. 8).

    f = Linear(face)
    x = x + s * tanh(alpha_attn)  * SelfAttention(LN1([x ; f]))[:, :len(x)]
    x = x + s * tanh(alpha_dense) * FeedForward(LN2(x))

Parameter names are those of the published weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facefact.adapter.attention import attention
from facefact.adapter.feed_forward import geglu_network
from facefact.adapter.linear import project
from facefact.adapter.regions import Shares
from facefact.adapter.tokens import TokenSubset
from facefact.types import UserError

Scale = float | Tensor


class FaceKeys(NamedTuple):
    """What a layer's attention reads of a face, the same at every step: made once for each portrait.

    keys, values: (r, m, inner width). made_by: the state of the weights that made them.
    """

    keys: Tensor
    values: Tensor
    made_by: tuple[int, ...]

    def rows(self, order: Tensor) -> FaceKeys:
        """order: (b,) which rows -> those."""
        return self._replace(keys=self.keys[order], values=self.values[order])


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

    def forward(
        self, x: Tensor, face: FaceKeys, subset: TokenSubset | None = None, shares: Shares | None = None
    ) -> Tensor:
        """x: (b, n, width), face: r rows with b a multiple of r -> (b, n, width), or (b, count, width) of a subset.
        shares: of the people whose tokens the face is, in the tokens that are asked for."""
        if self.heads is None:
            raise RuntimeError("the number of heads is the host block's: attach the adapter or set `heads`")
        asking = x if subset is None else subset.pick(x)
        seen, log_counts = x, None
        if subset is not None and subset.cell > 1:
            far, log_counts = subset.others(x)
            seen = torch.cat([asking, far], 1)
        q, k, v = project(self.to_q, asking), project(self.to_k, seen), project(self.to_v, seen)
        face_k, face_v = (fill_batch(part.to(k), len(x)) for part in (face.keys, face.values))
        # A mean of c tokens counts as much as c.
        bias = None if log_counts is None else F.pad(log_counts, (asking.shape[1], face_k.shape[1]))
        out: Any = self.to_out[0]
        people = {} if shares is None else {"shares": shares.logs, "owner": shares.owner}
        return project(out, attention(q, [k, face_k], [v, face_v], heads=self.heads, bias=bias, **people))


class GEGLU(nn.Module):
    """The first projection; FeedForward says what becomes of it. (So nested, it has its published name.)"""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * hidden)


class FeedForward(nn.Module):
    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        hidden = config.width * config.ff_mult
        # The identity keeps the published place of the second projection (a dropout stands there).
        self.net = nn.Sequential(GEGLU(config.width, hidden), nn.Identity(), nn.Linear(hidden, config.width))

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., width) -> the same."""
        net: Any = self.net
        return geglu_network(x, net[0].proj, net[2])


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

    def increments(
        self,
        x: Tensor,
        face: Tensor,
        *,
        scale: Scale = 1.0,
        keys: FaceKeys | None = None,
        subset: TokenSubset | None = None,
        shares: Shares | None = None,
        ungated: Callable[[Tensor], None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What the attention adds to x, and what the feed-forward then adds: each (b, n, width) in x's type.

        scale: a number, or a tensor with one number, or one per row of `face` or of `x`. keys: of that face, made
        before; they count only while they are this layer's and no gradient is wanted. subset: the tokens that it is
        asked for (local mode): each (b, count, width) then. shares: of the people whose tokens the face is, in all
        tokens of x; without them all are one person's. ungated: is told what the attention gives before gate and
        scale, shaped as what it adds.
        """
        y = x.to(self.linear.weight.dtype)
        if keys is None or not self._made(keys):
            keys = self.face_keys(face.to(y))
        shares = None if shares is None else shares.pick(subset)
        attended = self.attn(self.norm1(y), keys, subset, shares)
        if ungated is not None:
            ungated(attended)
        attention = self._gate(self.alpha_attn, scale, len(x), shares) * attended
        y = (y if subset is None else subset.pick(y)) + attention
        dense = self._gate(self.alpha_dense, scale, len(x), shares) * self.ff(self.norm2(y))
        return attention.to(x.dtype), dense.to(x.dtype)

    def face_keys(self, face: Tensor) -> FaceKeys:
        """face: (r, m, token_width) -> what `increments` computes of it whatever x is."""
        f = self.norm1(self.linear(face))
        return FaceKeys(self.attn.to_k(f), self.attn.to_v(f), self._state())

    def _made(self, keys: FaceKeys) -> bool:
        """Whether the keys, of any shape, are what `face_keys` would make now, and may stand for it."""
        if torch.is_grad_enabled() or keys.keys.dtype != self.linear.weight.dtype:
            return False
        return torch.compiler.is_compiling() or keys.made_by == self._state()

    def _state(self) -> tuple[int, ...]:
        """Changes with the weights behind the face keys (but not by way of `.data`, nor inside a compiled graph)."""
        if torch.compiler.is_compiling():
            return ()
        weights = (*self.linear.parameters(), *self.norm1.parameters(), self.attn.to_k.weight, self.attn.to_v.weight)
        return tuple(0 if weight.is_inference() else weight._version for weight in weights)

    def _gate(self, alpha: Tensor, scale: Scale, batch: int, shares: Shares | None = None) -> Tensor:
        """scale * tanh(alpha), and the tokens' strength, rounded once. alpha: (). scale: a number, (), (1,) or (r,),
        batch a multiple of r -> one number, or (batch, 1, 1), or (batch, n, 1) of n tokens with shares."""
        wide = torch.promote_types(alpha.dtype, torch.float32)
        if torch.is_tensor(scale):
            scale = scale.to(alpha.device, wide)
            scale = fill_batch(scale.reshape(-1, 1, 1), batch) if scale.ndim else scale
        gate = scale * alpha.to(wide).tanh()
        return (gate if shares is None else gate * shares.strength).to(alpha.dtype)


def within(block: str, prefixes: Iterable[str]) -> bool:
    """Whether a block is one of those that the prefixes name: "up_blocks.1" names all inside it, and not
    up_blocks.10."""
    return any(f"{block}.".startswith(f"{prefix}.") for prefix in prefixes)


class AdapterLayers(nn.Module):
    """The layers of one adapter, each at the name of the block that hosts it, so that parameters are called
    `<block>.<parameter>`.

    blocks: prefixes of the blocks that carry the adapter, of all those that could; None: all of them do. It tells an
    adapter for some blocks from one for another model. UserError: a layer is in none of them.
    """

    def __init__(
        self, configs: Mapping[str, LayerConfig], *, gate: float = 0.0, blocks: Iterable[str] | None = None
    ) -> None:
        super().__init__()
        self.configs = dict(configs)
        self.carrying = None if blocks is None else tuple(blocks)
        for name in self.configs:
            if not self.carries(name):
                raise UserError(f"the adapter has a layer for {name}, which is in none of its blocks {self.carrying}")
        for name, config in self.configs.items():
            *path, last = name.split(".")
            node: nn.Module = self
            for part in path:
                if part not in node._modules:
                    node.add_module(part, nn.Module())
                node = node.get_submodule(part)
            node.add_module(last, GatedSelfAttention(config, gate=gate))

    def carries(self, block: str) -> bool:
        """Whether a block that could host a layer is one that does."""
        return self.carrying is None or within(block, self.carrying)

    def outside(self, prefixes: Sequence[str]) -> list[str]:
        """The names of all layers but those of the blocks that the prefixes name. UserError: one of them names no
        layer, or none is left."""
        for prefix in prefixes:
            if not any(within(name, [prefix]) for name in self.configs):
                raise UserError(f"this adapter has no layer in {prefix}; it has them in {', '.join(self.configs)}")
        kept = [name for name in self.configs if not within(name, prefixes)]
        if not kept:
            raise UserError("an adapter without any layer is the base model: leave one in at least")
        return kept

    def __getitem__(self, name: str) -> GatedSelfAttention:
        layer = self.get_submodule(name)
        assert isinstance(layer, GatedSelfAttention)
        return layer

    def __len__(self) -> int:
        return len(self.configs)

    def items(self) -> Iterator[tuple[str, GatedSelfAttention]]:
        """Block names and their layers."""
        return ((name, self[name]) for name in self.configs)

    @torch.no_grad()
    def face_keys(self, face: Tensor) -> dict[str, FaceKeys]:
        """face: (r, m, token_width) -> each layer's, without gradients."""
        return {name: layer.face_keys(face) for name, layer in self.items()}


def fill_batch(rows: Tensor, batch: int) -> Tensor:
    """Repeat each row so that there are `batch` of them: [neg, pos] -> [neg, neg, pos, pos], the order in which
    diffusers lays out guidance, prompts and images per prompt. rows: (r, ...), batch a multiple of r -> (batch, ...).

    UserError: it is no multiple.
    """
    if len(rows) == batch:
        return rows
    if batch % len(rows):
        raise UserError(
            f"the face condition has {len(rows)} rows and the model runs a batch of {batch}: give one person, or as "
            "many people as prompts"
        )
    return rows.repeat_interleave(batch // len(rows), dim=0)

"""Softmax attention, exact, by the kernel that was measured to be the fastest for the device, the type and the size.

On CUDA and for small inputs that is torch's own (SDPA). On x86 CPUs with AVX-512 and without AMX torch's waits for
matrix products that MKL does slowly (in bfloat16, and in any type on other makers' processors). There `blocked` takes
0.6-0.7 of its time in bfloat16 and 0.7-0.8 in float32 (one core of a Zen 5, 256 to 4,096 tokens). Its error against
float64 is 1.0 to 1.3 times SDPA's in bfloat16, at flat and at peaky scores, and as small in float32. Where gradients
are wanted, it is SDPA.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, library

from facefact.adapter.linear import CPU_PREFERS_ONEDNN, ONEDNN_TYPES, times_transposed

BLOCK_SCORES = 2**20  # per thread, of which four count: 4 to 16 MB in float32, whatever the size of the picture
UNTOUCHED_BYTES = 30 * 2**20  # above 32 MiB the C library does not learn
FEWEST_ROWS = 64  # of a block: below, the products are inefficient
FEWEST_SCORES = 2**14  # of a head: below, SDPA's one call is faster than the many small ones


# (Held to AVX2, the same core takes as long in blocks as by SDPA, or longer.)
CPU_PREFERS_BLOCKS = CPU_PREFERS_ONEDNN and torch.backends.cpu.get_cpu_capability() == "AVX512"


def attention(
    q: Tensor,
    keys: Sequence[Tensor],
    values: Sequence[Tensor],
    *,
    heads: int,
    bias: Tensor | None = None,
    shares: Tensor | None = None,
    owner: Tensor | None = None,
) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v over k and v in parts, which count as one: the caller need not join them.

    q: (b, n, heads * d), keys and values: each part (b, m_i, heads * d), all of one type. bias: (b, m) float32, one
    number for each key. shares: (b, n, groups) float32, one more number for each query and group of keys, finite for
    one of them or for a key of no group; owner: (k,) the group of each of the last k keys, the others have none.
    -> (b, n, heads * d).
    """
    if not _blocked_is_faster(q, keys, values):
        return sdpa(q, keys, values, heads=heads, bias=bias, shares=shares, owner=owner)
    if torch.compiler.is_compiling():
        return _blocked_op(q, list(keys), list(values), heads, bias, shares, owner)
    return blocked(q, keys, values, heads=heads, bias=bias, shares=shares, owner=owner)


def _blocked_is_faster(q: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor]) -> bool:
    """Of tensors as `attention` gets them."""
    scores = q.shape[1] * sum(part.shape[1] for part in keys)
    learning = torch.is_grad_enabled() and any(part.requires_grad for part in (q, *keys, *values))
    return (
        CPU_PREFERS_BLOCKS
        and q.device.type == "cpu"
        and q.dtype in ONEDNN_TYPES
        and scores >= FEWEST_SCORES
        and not learning
    )


def sdpa(
    q: Tensor,
    keys: Sequence[Tensor],
    values: Sequence[Tensor],
    *,
    heads: int,
    bias: Tensor | None = None,
    shares: Tensor | None = None,
    owner: Tensor | None = None,
) -> Tensor:
    """`attention`, of the same shapes, by torch's own kernel."""

    def split(x: Tensor) -> Tensor:  # (b, n, heads * d) -> (b, heads, n, d)
        return x.unflatten(2, (heads, -1)).transpose(1, 2)

    k, v = (parts[0] if len(parts) == 1 else torch.cat(list(parts), 1) for parts in (keys, values))
    mask = None if bias is None else bias[:, None, None]
    if shares is not None and owner is not None:
        mine = F.pad(shares[..., owner], (k.shape[1] - len(owner), 0))[:, None]
        mask = mine if mask is None else mask + mine
    mask = None if mask is None else mask.to(q.dtype)
    return F.scaled_dot_product_attention(split(q), split(k), split(v), attn_mask=mask).transpose(1, 2).flatten(2)


def blocked(
    q: Tensor,
    keys: Sequence[Tensor],
    values: Sequence[Tensor],
    *,
    heads: int,
    bias: Tensor | None = None,
    shares: Tensor | None = None,
    owner: Tensor | None = None,
) -> Tensor:
    """`attention`, of the same shapes, head by head, for as many queries at a time as the cache holds scores.

    Scores and softmax are float32 whatever the type of q; only the weights of the values are rounded to it. It has no
    gradients.
    """
    b, n, width = q.shape
    d = width // heads
    most = BLOCK_SCORES * min(torch.get_num_threads(), 4)
    rows = max(FEWEST_ROWS, math.ceil(most / sum(part.shape[1] for part in keys)))
    y = q.new_empty(q.shape)
    # glibc returns large blocks to the system when they are freed, and each new one pays for its pages again: twice the
    # time. A larger one that is freed, never touched, tells it to keep them.
    torch.empty(UNTOUCHED_BYTES, dtype=torch.uint8)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for i in range(b):
            for head in (slice(j * d, j * d + d) for j in range(heads)):
                k = torch.cat([part[i, :, head] for part in keys]).float()
                v = torch.cat([part[i, :, head] for part in values]).T.contiguous()
                scaled = q[i, :, head].float() * d**-0.5
                if bias is not None:  # one more channel, of ones: no pass over the scores
                    scaled, k = F.pad(scaled, (0, 1), value=1.0), torch.cat([k, bias[i, :, None]], 1)
                for j in range(0, n, rows):
                    scores = times_transposed(scaled[j : j + rows], k)
                    if shares is not None and owner is not None:
                        scores[:, -len(owner) :] += shares[i, j : j + rows, owner]
                    torch.softmax(scores, -1, out=scores)
                    y[i, j : j + rows, head] = times_transposed(scores.to(v.dtype), v)
    return y


# One node to the compiler, which would unroll the loops. (Its first call imports the compiler: seconds.)
_blocked_op = library.custom_op(
    "facefact::attention",
    lambda q, keys, values, heads, bias=None, shares=None, owner=None: blocked(
        q, keys, values, heads=heads, bias=bias, shares=shares, owner=owner
    ),
    mutates_args=(),
    schema="(Tensor q, Tensor[] keys, Tensor[] values, int heads, Tensor? bias=None, Tensor? shares=None, "
    "Tensor? owner=None) -> Tensor",
)
_blocked_op.register_fake(lambda q, keys, values, heads, bias=None, shares=None, owner=None: q.new_empty(q.shape))

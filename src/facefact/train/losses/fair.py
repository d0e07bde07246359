"""FAIR, Face Adapting Increment Regularization: what the adapter adds is held to the face.

docs/method.md, "Training" (published formula), averaged over the layers:

    L_FAIR(x) = ||GSA(x) (1 - M_x)|| / ||x (1 - M_x)||

The formula leaves two things open, and each reading is another pull on the gates (`Part`, `squared`):

- What GSA(x) is. With its gate, tanh(alpha) GSA(x), the loss asks the gates as well as what is behind them. Without it,
  as the published figure has it, a layer's own gates get no gradient: only what the attention says is held to the face.
- The norm or its square. A norm's slope does not fade as the increment does: over the layers it is a group lasso, which
  switches whole layers off. The square's slope fades with the increment: it makes all small, and none zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from facefact.adapter import Increment

TINY = 1e-6
ALIVE = 1e-3  # share of change inside the face: a layer that stays below it adds nothing there

Part = Literal["attention", "whole", "ungated"]


def mask_for(face: Tensor, places: int) -> Tensor:
    """(b, h, w) share of each cell that is face -> (b, places, 1) at a layer's resolution, by area.

    The layer's grid has the mask's aspect; ValueError when no grid of `places` cells has.
    """
    h, w = face.shape[-2:]
    rows = round((places * h / w) ** 0.5)
    if rows == 0 or places % rows:
        raise ValueError(f"a layer of {places} places has no grid of the aspect {w}:{h}")
    return F.adaptive_avg_pool2d(face[:, None], (rows, places // rows)).flatten(2).transpose(1, 2)


def leak(increment: Increment, face: Tensor, part: Part = "whole", *, squared: bool = False) -> Tensor:
    """(b,): the share of change outside the face of one layer, or its square. part: the attention's increment alone,
    the same without its gate, or that of the whole layer with its feed-forward. face: (b, h, w) in [0, 1]. ValueError:
    the increment was recorded without what stands before the gate, and that is asked for."""
    outside = 1 - mask_for(face, increment.entering.shape[1])[..., 0]
    added = getattr(increment, part)
    if added is None:
        raise ValueError(f"{increment.block} did not record what its attention gives before the gate")
    return share(added, increment.entering.detach(), outside, squared=squared)


def share(added: Tensor, whole: Tensor, weight: Tensor, *, squared: bool = False) -> Tensor:
    """(b,): the norm of (b, n, c) `added` over that of `whole`, places weighted by (b, n) `weight`; or its square."""
    if squared:  # (not the root's square, whose gradient would be 0 / 0 where nothing is added)
        return energy_in(added, weight) / energy_in(whole, weight)
    return size_in(added, weight) / size_in(whole, weight)


def size_in(x: Tensor, weight: Tensor) -> Tensor:
    """(b, n, c), (b, n) -> (b,): the norm of x times its places' weights."""
    return energy_in(x, weight).sqrt()


def energy_in(x: Tensor, weight: Tensor) -> Tensor:
    """(b, n, c), (b, n) -> (b,): the squared norm of x times its places' weights, and a little (a root has a slope
    then). (Weighted after the sum over channels: half of the work, forward and backward, of weighting x.)"""
    of_place = x.float().square().sum(-1)
    return (of_place * weight.square()).sum(1) + TINY


def output_leak(adapted: Tensor, base: Tensor, face: Tensor, *, squared: bool = False) -> Tensor:
    """(b,): FAIR's measure where it counts, on the model's answer: how far the adapter moves it outside the face, as a
    share of what it is there. adapted, base: (b, c, h, w) predictions with the adapter and without it (from which no
    gradient is wanted); face: (b, h, w) in [0, 1]."""
    outside = (1 - face).flatten(1)
    change, whole = (x.flatten(2).transpose(1, 2) for x in (adapted - base, base))
    return share(change, whole, outside, squared=squared)


def fair(increments: Sequence[Increment], face: Tensor, part: Part = "whole", *, squared: bool = False) -> Tensor:
    """Scalar: the mean leak over layers and over the samples that have an outside. Null faces count as all others: the
    model's answer without a face is half of every guided picture."""
    return mean_outside(torch.stack([leak(one, face, part, squared=squared) for one in increments]), face)


def mean_outside(shares: Tensor, face: Tensor) -> Tensor:
    """Scalar: the mean of (..., b) shares over the samples that have an outside; 0 where none has. (Without an
    outside a share is nothing over nothing.) face: (b, h, w) in [0, 1]."""
    counts = has_outside(face).to(shares.dtype)
    return (shares * counts).sum(-1).mean() / counts.sum().clamp(min=1)


def has_outside(face: Tensor) -> Tensor:
    """(b, h, w) in [0, 1] -> (b,) bool: whether any cell is not all face."""
    return (face < 1).flatten(1).any(1)

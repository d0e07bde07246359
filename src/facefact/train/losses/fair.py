"""FAIR, Face Adapting Increment Regularization: what the adapter adds is held to the face.

docs/method.md, "Training" (published formula), averaged over the layers:

    L_FAIR(x) = ||GSA(x) (1 - M_x)|| / ||x (1 - M_x)||
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from facefact.adapter import Increment

TINY = 1e-6


def mask_for(face: Tensor, places: int) -> Tensor:
    """(b, h, w) share of each cell that is face -> (b, places, 1) at a layer's resolution, by area.

    The layer's grid has the mask's aspect; ValueError when no grid of `places` cells has.
    """
    h, w = face.shape[-2:]
    rows = round((places * h / w) ** 0.5)
    if rows == 0 or places % rows:
        raise ValueError(f"a layer of {places} places has no grid of the aspect {w}:{h}")
    return F.adaptive_avg_pool2d(face[:, None], (rows, places // rows)).flatten(2).transpose(1, 2)


def leak(increment: Increment, face: Tensor, part: Literal["attention", "whole"] = "whole") -> Tensor:
    """(b,): the share of change outside the face of one layer. part: the attention's increment alone (as published), or
    that of the whole layer with its feed-forward. face: (b, h, w) in [0, 1]."""
    outside = 1 - mask_for(face, increment.entering.shape[1])[..., 0]
    return size_in(getattr(increment, part), outside) / size_in(increment.entering.detach(), outside)


def size_in(x: Tensor, weight: Tensor) -> Tensor:
    """(b, n, c), (b, n) -> (b,): the norm of x times its places' weights. (Weighted after the sum over channels: half
    of the work, forward and backward, of weighting x.)"""
    of_place = x.float().square().sum(-1)
    return ((of_place * weight.square()).sum(1) + TINY).sqrt()


def output_leak(adapted: Tensor, base: Tensor, face: Tensor) -> Tensor:
    """(b,): FAIR's measure where it counts, on the model's answer: how far the adapter moves it outside the face, as a
    share of what it is there. adapted, base: (b, c, h, w) predictions with the adapter and without it (from which no
    gradient is wanted); face: (b, h, w) in [0, 1]."""
    outside = (1 - face).flatten(1)
    change, whole = (x.flatten(2).transpose(1, 2) for x in (adapted - base, base))
    return size_in(change, outside) / size_in(whole, outside)


def fair(increments: Sequence[Increment], face: Tensor, part: Literal["attention", "whole"] = "whole") -> Tensor:
    """Scalar: the mean leak over layers and samples."""
    return torch.stack([leak(one, face, part) for one in increments]).mean()

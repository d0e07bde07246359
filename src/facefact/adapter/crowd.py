"""Several faces that local mode follows: whose is which part of what stands out.

Each person has a centre. A place of the picture belongs to the nearest centre; each centre goes to the middle of what
stands out in its part, from step to step (one iteration of weighted k-means a step). Where nobody said where the people
are, the first centres are the places that stand out most, given to the people from left to right.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

SETTLING = 4  # iterations when faces are found for the first time
APART = 1.0  # two centres of found faces are at least so far apart, in diameters of a face


@dataclass
class Crowd:
    """Of the pictures of one batch. people: in each. starts: (pictures or 1, people, 2) where they are, y and x in
    shares of the height and the width; None: they are found. centres: (pictures, people, 2), where they are now, in
    units of the shorter side; None: not known yet.
    """

    people: int
    starts: Tensor | None = None
    centres: Tensor | None = field(default=None, init=False)

    def begin(self) -> None:
        """Another portrait."""
        self.centres = None

    def learn(self, strength: Tensor) -> None:
        """strength: (pictures, h, w), what stands out of the background, 0 elsewhere."""
        weights, places = strength.flatten(1), places_of(strength.shape[-2:], strength.device)
        if self.centres is None and self.starts is None:
            found = [_found(one, self.people) for one in strength]
            if any(one is None for one in found):
                return  # not so many faces stand out (yet)
            self.centres = torch.stack([_settled(one, w, places) for one, w in zip(found, weights, strict=True)])  # type: ignore[arg-type]
            order = self.centres[..., 1].argsort(-1)[..., None]
            self.centres = self.centres.take_along_dim(order, 1)
            return
        before = self.centres
        if before is None:
            assert self.starts is not None
            sides = torch.tensor(strength.shape[-2:], device=strength.device)
            before = (self.starts.to(strength.device) * sides / sides.min()).expand(len(strength), -1, -1)
        self.centres = torch.stack([_moved(one, w, places) for one, w in zip(before, weights, strict=True)])

    @property
    def device(self) -> torch.device | None:
        """Where the centres are."""
        return None if self.centres is None else self.centres.device

    def masks(self, region: Tensor) -> tuple[Tensor, ...] | None:
        """region: (pictures, h, w) of 0 and 1, all people's -> each person's part of it; None: nobody was found."""
        if self.centres is None:
            return None
        owner = _nearest(self.centres, places_of(region.shape[-2:], region.device)).view(region.shape)
        return tuple(region * (owner == i) for i in range(self.people))


def centres_of(masks: tuple[Tensor, ...]) -> Tensor:
    """Of each person's mask, (h, w) or (pictures, h, w): the middles, (pictures or 1, people, 2), as `Crowd.starts`."""
    found = []
    for mask in masks:
        sides = torch.tensor(mask.shape[-2:], device=mask.device)
        pictures = mask.float().reshape(-1, mask.shape[-2] * mask.shape[-1])
        total = pictures.sum(-1, keepdim=True).clamp(min=1e-12)
        found.append(pictures @ places_of(mask.shape[-2:], mask.device) / total * sides.min() / sides)
    several = max(len(one) for one in found)
    return torch.stack([one.expand(several, -1) for one in found], 1)


def places_of(size: tuple[int, ...], device: torch.device) -> Tensor:
    """(h * w, 2): the middles of the cells of a grid, y and x, in units of its shorter side."""
    h, w = size
    rows, columns = torch.arange(h, device=device) + 0.5, torch.arange(w, device=device) + 0.5
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1) / min(h, w)


def _nearest(centres: Tensor, places: Tensor) -> Tensor:
    """centres: (..., people, 2), places: (n, 2) -> (..., n) the person whose centre is nearest."""
    return (places[:, None] - centres[..., None, :, :]).square().sum(-1).argmin(-1)


def _moved(centres: Tensor, weights: Tensor, places: Tensor) -> Tensor:
    """One iteration of one picture's: centres (people, 2), weights (n,), places (n, 2). Who has nothing stays."""
    own = F.one_hot(_nearest(centres, places), len(centres)).to(weights.dtype) * weights[:, None]
    total = own.sum(0)[:, None]
    return torch.where(total > 0, own.T @ places / total.clamp(min=1e-12), centres)


def _settled(centres: Tensor, weights: Tensor, places: Tensor) -> Tensor:
    for _ in range(SETTLING):
        centres = _moved(centres, weights, places)
    return centres


def _found(strength: Tensor, people: int) -> Tensor | None:
    """(h, w) -> (people, 2) the strongest places, a face apart from each other; None: there are not so many."""
    places, weights = places_of(strength.shape, strength.device), strength.flatten()
    area = (weights > 0).float().sum() / min(strength.shape) ** 2 / people
    apart = APART * 2 * (area / torch.pi).sqrt()
    smooth = F.avg_pool2d(strength[None, None], 3, stride=1, padding=1).flatten()
    centres = []
    for _ in range(people):
        best = smooth.argmax()
        if smooth[best] <= 0:
            return None
        centres.append(places[best])
        smooth = torch.where((places - places[best]).norm(dim=-1) < apart, 0.0, smooth)
    return torch.stack(centres)

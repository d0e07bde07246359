"""Several people in one picture: each latent token sees the face of its own person.

The layers get the tokens of all people, one after the other, and for each latent token the people's shares in it. The
logarithm of a share is added to the scores of that person's tokens:

    softmax over [x ; f_1 ; ... ; f_N] of  q k^T / sqrt(d) + [0 ; log s_1 ; ... ; log s_N],   s_1 + ... + s_N = 1

A person with the share 0 is not seen; where one has the share 1, it is the attention over [x ; f_1]; equal people are
one person, however they share. Attention to N people's tokens costs what N - 1 people's few tokens more cost as keys;
all else, the feed-forward network and the projections of the latents, is done once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from facefact.adapter.crowd import Crowd, centres_of
from facefact.adapter.tokens import TokenSubset, grid_of
from facefact.types import FaceTokens, UserError


@dataclass(frozen=True)
class Region:
    """One person of a group, and where they are.

    mask: (h, w) or (pictures, h, w) over the whole picture, at any size, from 0 to 1. Where masks overlap, they are
    shared out in proportion; where all are 0, the adapter does nothing. None, for all people alike: local mode finds
    them, and takes them from left to right. tokens: face and null (pictures or 1, m,
    width). scale: how much this face counts, besides the scale of all.
    """

    mask: Tensor | None
    tokens: FaceTokens
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise UserError(f"the scale {self.scale} of a region is negative; 0 is no face, 1 the whole face")
        if self.mask is None:
            return
        if self.mask.ndim not in (2, 3) or not self.mask.any():
            raise UserError(
                f"the mask of a region is {tuple(self.mask.shape)}{'' if self.mask.any() else ' and 0 everywhere'}: "
                "(h, w) or (pictures, h, w), from 0 to 1, and not 0 where the person is"
            )
        if not 0 <= float(self.mask.min()) <= float(self.mask.max()) <= 1:
            raise UserError("the mask of a region goes from 0 (not there) to 1 (there)")


class Shares(NamedTuple):
    """Of the people in the tokens of one layer.

    logs: (b, n, people) float32, their exponentials sum to 1 over the people; -inf for nobody's share. owner: (keys,)
    to which person each of the people's tokens belongs. strength: (b, n, 1) float32, how much the increments of a token
    count: 0 outside all regions, inside the people's scales by their shares.
    """

    logs: Tensor
    owner: Tensor
    strength: Tensor

    def pick(self, subset: TokenSubset | None) -> Shares:
        """Those of the tokens that local mode works for."""
        if subset is None:
            return self
        return self._replace(logs=subset.pick(self.logs), strength=subset.pick(self.strength))

    @property
    def bias(self) -> Tensor:
        """(b, n, keys): what is added to the scores of the people's tokens."""
        return self.logs[..., self.owner]


@dataclass(frozen=True)
class Regions:
    """Where the people of one picture, or of each picture of a batch, are.

    masks: of each person, as in Region. scales: (people,) float32. owner: (tokens,) as in Shares. latents: height and
    width, rows: pictures with their copies, copies: how often the batch holds the pictures; known in a pass. found:
    whether nobody said where they are; the masks are 1 everywhere then.
    """

    masks: tuple[Tensor, ...]
    scales: Tensor
    owner: Tensor
    latents: tuple[int, int] = (0, 0)
    rows: int = 0
    copies: int = 1
    found: bool = False
    known: dict[tuple[int, ...], Shares] = field(default_factory=dict, compare=False, repr=False)

    def to(self, device: torch.device) -> Regions:
        masks = tuple(mask.to(device, torch.float32) for mask in self.masks)
        return replace(self, masks=masks, scales=self.scales.to(device), owner=self.owner.to(device))

    def moved(self, masks: tuple[Tensor, ...]) -> Regions:
        """The same people elsewhere. masks: of each, as in Region."""
        return replace(self, masks=masks, known={})

    def crowd(self) -> Crowd:
        """The people as local mode follows them."""
        return Crowd(len(self.masks), None if self.found else centres_of(self.masks))

    def in_pass(self, shape: tuple[int, ...], copies: int) -> Regions:
        """The same for a pass over latents of this shape, (rows, channels, height, width). UserError: the masks are of
        another number of pictures."""
        pictures = shape[0] // copies
        for mask in self.masks:
            if mask.ndim == 3 and pictures % len(mask):
                raise UserError(f"the mask of a region is of {len(mask)} pictures, the batch has {pictures}")
        return replace(self, latents=(shape[-2], shape[-1]), rows=shape[0], copies=copies, known=self.known)

    def shares(self, n: int) -> Shares:
        """In the tokens of a layer that has n. UserError: they are no grid of this picture's shape."""
        key = n, *self.latents, self.rows, self.copies
        if torch.compiler.is_compiling():  # (a compiled model has no memory)
            return self._shares(n)
        if key not in self.known:
            self.known[key] = self._shares(n)
        return self.known[key]

    def _shares(self, n: int) -> Shares:
        grid = grid_of(n, self.latents)
        if grid is None:
            raise UserError(
                f"a layer of this model has {n} tokens, which are no grid over the picture: no regions here"
            )
        covers = [F.interpolate(_pictures(mask)[:, None], grid, mode="area").flatten(1) for mask in self.masks]
        several = max(len(cover) for cover in covers)
        cover = torch.stack([cover.expand(several, -1) for cover in covers], -1)  # (pictures or 1, n, people)
        together = cover.sum(-1, keepdim=True)
        shares = torch.where(together > 0, cover / together.clamp(min=1e-12), 1 / cover.shape[-1])
        strength = together.clamp(max=1) * (shares * self.scales).sum(-1, keepdim=True)
        return Shares(self._fill(shares.log()), self.owner, self._fill(strength))

    def _fill(self, pictures: Tensor) -> Tensor:
        """(pictures or 1, n, k) -> (rows, n, k)."""
        if len(pictures) == 1:
            return pictures.expand(self.rows, -1, -1)
        return pictures.repeat_interleave(self.rows // self.copies // len(pictures), 0).repeat(self.copies, 1, 1)


def gathered(regions: Sequence[Region]) -> tuple[FaceTokens, Regions]:
    """The tokens of all people as those of one, and whose each is. UserError: nobody, or people of different widths or
    numbers of pictures."""
    if not regions:
        raise UserError("a group without people: give at least one region")
    rows = max(len(one.tokens.face) for one in regions)
    shapes = {(one.tokens.face.ndim, one.tokens.face.shape[-1]) for one in regions}
    if len(shapes) > 1 or any(len(one.tokens.face) not in (1, rows) for one in regions):
        raise UserError("the people of a group have face tokens of different shapes: make all with the same adapter")
    face, null = (
        torch.cat([getattr(one.tokens, name).expand(rows, -1, -1) for one in regions], 1) for name in ("face", "null")
    )
    owner = torch.cat([torch.full((one.tokens.face.shape[1],), i) for i, one in enumerate(regions)])
    scales = torch.tensor([float(one.scale) for one in regions])
    unknown = [one.mask is None for one in regions]
    if any(unknown) and not all(unknown):
        raise UserError("some people of the group have a place and others none: say where all are, or where nobody is")
    masks = tuple(torch.ones(1, 1) if one.mask is None else one.mask.float() for one in regions)
    return FaceTokens(face, null), Regions(masks, scales, owner, found=all(unknown))


def _pictures(mask: Tensor) -> Tensor:
    """(h, w) or (pictures, h, w) -> (pictures or 1, h, w)."""
    return mask if mask.ndim == 3 else mask[None]

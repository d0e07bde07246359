"""Local mode: the adapter works only for the tokens where the face is.

FAIR teaches the adapter to do nothing outside the face; what is nothing need not be computed. Where a picture is
repainted, the place of the face is known. Where one is made from noise, the adapter says it: the increments of its
layers of the finest resolution show the face from the first step on, and go on showing where it moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from facefact.adapter.tokens import Some, choose, grid_of
from facefact.types import UserError

EDGE = 0.25  # a token is the face's from this increment on, between the background's (0) and the strongest (1)
MARGIN = 1 / 16  # the adapter works that far around those tokens, in sides of the picture: a face may move by it
MOST = 0.5  # share of the picture above which it works for all tokens
SHARES = 32  # how many different shares of the picture a mask can have
CLEAR = 0.5  # increments of the background, against the strongest, below which the face is found


@dataclass(frozen=True)
class Local:
    """How local mode works.

    mask: (h, w) or (pictures, h, w) over the whole picture, at any size, not 0 where the face may be; None: it is
    found. looks: in how many first steps the adapter works for all tokens, to find it. cell: tokens outside are seen
    as the means of squares of this side; 1: as they are. reuse: in how many steps the same increments serve.
    """

    mask: Tensor | None = None
    looks: int = 2
    cell: int = 4
    reuse: int = 1

    def __post_init__(self) -> None:
        for name in ("looks", "cell", "reuse"):
            if getattr(self, name) < 1:
                raise UserError(f"local mode with {name}={getattr(self, name)}: a number from 1 on")
        if self.mask is not None and (self.mask.ndim not in (2, 3) or not self.mask.any()):
            raise UserError(
                f"the mask of local mode is {tuple(self.mask.shape)}"
                f"{'' if self.mask.any() else ' and 0 everywhere'}: (h, w) or (pictures, h, w), not 0 where the face is"
            )

    def to(self, device: torch.device) -> Local:
        return self if self.mask is None else replace(self, mask=self.mask.to(device))


@dataclass
class Tracker:
    """Where the face of one portrait is, or the faces of one batch of them, from step to step.

    copies: how often the batch holds the pictures: 2 under guidance. region: (pictures, h, w), 1 where the adapter
    works, None: everywhere. share: of the picture, the largest of the batch. shape: of the latents.
    """

    local: Local
    copies: int
    region: Tensor | None = None
    share: float = 1.0
    shape: tuple[int, ...] = ()
    some: dict[int, Some | None] = field(default_factory=dict)  # of this step
    kept: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)  # increments that serve again
    served: int = 0  # in how many steps they did
    seen: dict[str, tuple[int, Tensor]] = field(default_factory=dict)  # block: its tokens, and their increments' norms
    ground: Tensor | None = None  # (pictures, 1, 1): increments of the background, the strongest being 1
    looked: int = 0
    times: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, local: Local, *, copies: int) -> Tracker:
        share = 1.0 if local.mask is None else float((local.mask != 0).float().mean((-2, -1)).max())
        # In steps, so that a compiled model, whose sizes are fixed, need not be made anew for every mask.
        return cls(local, copies, share=math.ceil(share * SHARES) / SHARES)

    def known(self, shape: tuple[int, ...]) -> Tracker:
        """The same for one pass over latents of this shape, with the mask for a region: no memory, one graph."""
        assert self.local.mask is not None
        return Tracker(self.local, self.copies, _over(self.local.mask, shape[0] // self.copies), self.share, shape)

    def begin(self, shape: tuple[int, ...], timestep: float) -> None:
        """Before each forward pass. shape: of the latents, (batch, channels, height, width)."""
        again = not self._another_portrait(shape, timestep)
        self.times = [*self.times, timestep] if again else [timestep]
        self.served += 1
        if again and self.kept and self.served < self.local.reuse:
            return  # in the same places
        if self.local.mask is not None:
            self.region = _over(self.local.mask, shape[0] // self.copies)
        elif not again:
            self.looked, self.region = 0, None
        elif self.seen:
            self._learn()
        self.shape, self.served = shape, 0
        for memory in (self.seen, self.kept, self.some):
            memory.clear()

    def tokens(self, n: int) -> Some | None:
        """Those of a layer with n tokens that the adapter works for in this step; None: all."""
        if self.region is None or self.share > MOST:
            return None
        if n not in self.some:
            latents = (self.shape[-2], self.shape[-1])
            self.some[n] = choose(
                self.region, n, share=self.share, latents=latents, copies=self.copies, cell=self.local.cell
            )
        return self.some[n]

    def note(self, block: str, n: int, increments: tuple[Tensor, Tensor]) -> None:
        """What a layer added in this step: each (b, n, c), or (b, count, c) of its `tokens`."""
        if self.local.reuse > 1 and self.region is not None:
            self.kept[block] = increments
        if self.local.mask is None and n >= max((n for n, _ in self.seen.values()), default=0):
            attention, dense = increments
            self.seen[block] = n, (attention + dense).detach().norm(dim=-1, dtype=torch.float32)

    def _another_portrait(self, shape: tuple[int, ...], timestep: float) -> bool:
        """Within one, noise only falls; some samplers stay at a level for two steps, but not at the first."""
        if shape != self.shape or not self.times:
            return True
        return timestep > self.times[-1] or (timestep == self.times[0] and len(set(self.times)) == 1)

    def _learn(self) -> None:
        """From the increments of the step that ended to the region of the next."""
        strength = self._strength()
        if self.region is None:
            self.looked += 1
            self.ground = strength.flatten(1).median(1).values[:, None, None]
        assert self.ground is not None
        face = strength > self.ground + EDGE * (1 - self.ground)
        reach = max(1, round(MARGIN * min(face.shape[1:])))
        region = F.max_pool2d(face.float()[:, None], 2 * reach + 1, stride=1, padding=reach)[:, 0]
        self.share = float(region.mean((1, 2)).max())
        # Unsure: the increments are everywhere, or no longer those of a face. Then it looks at the whole again.
        sure = self.looked >= self.local.looks and self.share <= MOST and bool((self.ground < CLEAR).all())
        self.region = region if sure else None

    def _strength(self) -> Tensor:
        """(pictures, h, w): the norms of the increments at the finest resolution, the strongest being 1.

        Mean over the layers and over guidance's two answers; 0 for tokens that had no increment.
        """
        finest = max(n for n, _ in self.seen.values())
        layers = torch.stack([norms / norms.mean(1, keepdim=True) for n, norms in self.seen.values() if n == finest])
        norms, some = layers.mean(0), self.some.get(finest)
        if some is not None:
            everywhere = norms.new_zeros(len(norms) * finest)
            norms = everywhere.index_copy(0, some.chosen, norms.flatten()).view(-1, finest)
        norms = norms.unflatten(0, (self.copies, -1)).mean(0)
        peak = norms.topk(max(1, finest // 32)).values.mean(1, keepdim=True)
        grid = grid_of(finest, (self.shape[-2], self.shape[-1]))
        assert grid is not None
        return (norms / peak).unflatten(1, grid)


def _over(mask: Tensor, pictures: int) -> Tensor:
    """(h, w) or (pictures, h, w), of any type -> (pictures, h, w) of 0 and 1."""
    if mask.ndim == 3 and len(mask) not in (1, pictures):
        raise UserError(f"the mask of local mode is of {len(mask)} pictures, the batch has {pictures}")
    return (mask != 0).float().expand(pictures, *mask.shape[-2:])

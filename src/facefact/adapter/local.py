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

from facefact.adapter.crowd import Crowd
from facefact.adapter.tokens import TokenSubset, choose_tokens, grid_of
from facefact.types import UserError

FACE_LEVEL = 0.25  # a token is the face's from this increment on, between the background's (0) and the strongest (1)
MARGIN = 1 / 16  # the adapter works that far around those tokens, in sides of the picture: a face may move by it
LARGEST_SHARE = 0.5  # share of the picture above which it works for all tokens
SHARE_STEPS = 32  # how many different shares of the picture a mask can have
BACKGROUND_LEVEL = 0.5  # increments of the background, against the strongest, below which the face is found


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
    works, None: everywhere. share: of the picture, the largest of the batch. shape: of the latents. crowd: where each
    of several people is.
    """

    local: Local
    copies: int
    region: Tensor | None = None
    share: float = 1.0
    shape: tuple[int, ...] = ()
    subsets: dict[int, TokenSubset | None] = field(default_factory=dict)  # of this step
    reusable: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)  # increments that serve again
    steps_served: int = 0  # in how many steps they did
    norms: dict[str, tuple[int, Tensor]] = field(default_factory=dict)  # block: its tokens, and their increments' norms
    background: Tensor | None = None  # (pictures, 1, 1): increments of the background, the strongest being 1
    steps_looked: int = 0
    timesteps: list[float] = field(default_factory=list)
    crowd: Crowd | None = None

    @classmethod
    def of(cls, local: Local, *, copies: int, crowd: Crowd | None = None) -> Tracker:
        share = 1.0 if local.mask is None else float((local.mask != 0).float().mean((-2, -1)).max())
        # In steps, so that a compiled model, whose sizes are fixed, need not be made anew for every mask.
        return cls(local, copies, share=math.ceil(share * SHARE_STEPS) / SHARE_STEPS, crowd=crowd)

    def for_known_mask(self, shape: tuple[int, ...], copies: int | None = None) -> Tracker:
        """The same for one pass over latents of this shape, with the mask for a region: no memory, one graph."""
        assert self.local.mask is not None
        copies = copies or self.copies
        return Tracker(self.local, copies, _mask_per_picture(self.local.mask, shape[0] // copies), self.share, shape)

    def begin(self, shape: tuple[int, ...], timestep: float, copies: int | None = None) -> None:
        """Before each forward pass. shape: of the latents, (batch, channels, height, width). copies: of the pictures in
        this batch, where that is not as before (guidance switched off)."""
        copies = copies or self.copies
        again = not self._another_portrait((shape[0] // copies, *shape[1:]), timestep)
        self.timesteps = [*self.timesteps, timestep] if again else [timestep]
        self.steps_served += 1
        if again and self.reusable and self.steps_served < self.local.reuse and copies == self.copies:
            return  # in the same places
        if self.local.mask is not None:
            self.region = _mask_per_picture(self.local.mask, shape[0] // copies)
        elif not again:
            self.steps_looked, self.region = 0, None
            if self.crowd is not None:
                self.crowd.begin()
        elif self.norms:
            self._learn()
        self.shape, self.copies, self.steps_served = shape, copies, 0
        for memory in (self.norms, self.reusable, self.subsets):
            memory.clear()

    def tokens(self, n: int) -> TokenSubset | None:
        """Those of a layer with n tokens that the adapter works for in this step; None: all."""
        if self.region is None or self.share > LARGEST_SHARE:
            return None
        if n not in self.subsets:
            latents = (self.shape[-2], self.shape[-1])
            self.subsets[n] = choose_tokens(
                self.region, n, share=self.share, latents=latents, copies=self.copies, cell=self.local.cell
            )
        return self.subsets[n]

    def note(self, block: str, n: int, increments: tuple[Tensor, Tensor]) -> None:
        """What a layer added in this step: each (b, n, c), or (b, count, c) of its `tokens`."""
        if self.local.reuse > 1 and self.region is not None:
            self.reusable[block] = increments
        if self.local.mask is None and n >= max((n for n, _ in self.norms.values()), default=0):
            attention, dense = increments
            self.norms[block] = n, (attention + dense).detach().norm(dim=-1, dtype=torch.float32)

    def _another_portrait(self, pictures: tuple[int, ...], timestep: float) -> bool:
        """Within one, noise only falls; some samplers stay at a level for two steps, but not at the first. pictures:
        the shape of the latents without their copies."""
        if not self.timesteps or pictures != (self.shape[0] // self.copies, *self.shape[1:]):
            return True
        return timestep > self.timesteps[-1] or (timestep == self.timesteps[0] and len(set(self.timesteps)) == 1)

    def _learn(self) -> None:
        """From the increments of the step that ended to the region of the next."""
        strength = self._strength()
        if self.region is None:
            self.steps_looked += 1
            self.background = strength.flatten(1).median(1).values[:, None, None]
        assert self.background is not None
        face = strength > self.background + FACE_LEVEL * (1 - self.background)
        reach = max(1, round(MARGIN * min(face.shape[1:])))
        region = F.max_pool2d(face.float()[:, None], 2 * reach + 1, stride=1, padding=reach)[:, 0]
        self.share = float(region.mean((1, 2)).max())
        # Unsure: the increments are everywhere, or no longer those of a face. Then it looks at the whole again.
        stands_out = self.steps_looked >= self.local.looks and bool((self.background < BACKGROUND_LEVEL).all())
        self.region = region if stands_out and self.share <= LARGEST_SHARE else None
        if stands_out and self.crowd is not None:
            self.crowd.learn((strength - self.background) * face)

    def people(self) -> tuple[Tensor, ...] | None:
        """Of several people each one's part of the region, (pictures, h, w) of 0 and 1; of the whole picture in a step
        that works for all of it, where they were found. None: in this step the masks of their regions hold."""
        if self.crowd is None or self.local.mask is not None:
            return None
        if self.region is None and self.crowd.starts is None:
            pictures, (height, width) = self.shape[0] // self.copies, self.shape[-2:]
            return self.crowd.masks(torch.ones(pictures, height, width, device=self.crowd.device))
        return None if self.region is None else self.crowd.masks(self.region)

    def _strength(self) -> Tensor:
        """(pictures, h, w): the norms of the increments at the finest resolution, the strongest being 1.

        Mean over the layers and over guidance's two answers; 0 for tokens that had no increment.
        """
        finest = max(n for n, _ in self.norms.values())
        layers = torch.stack([norms / norms.mean(1, keepdim=True) for n, norms in self.norms.values() if n == finest])
        norms, subset = layers.mean(0), self.subsets.get(finest)
        if subset is not None:
            everywhere = norms.new_zeros(len(norms) * finest)
            norms = everywhere.index_copy(0, subset.chosen, norms.flatten()).view(-1, finest)
        norms = norms.unflatten(0, (self.copies, -1)).mean(0)
        peak = norms.topk(max(1, finest // 32)).values.mean(1, keepdim=True)
        grid = grid_of(finest, (self.shape[-2], self.shape[-1]))
        assert grid is not None
        return (norms / peak).unflatten(1, grid)


def _mask_per_picture(mask: Tensor, pictures: int) -> Tensor:
    """(h, w) or (pictures, h, w), of any type -> (pictures, h, w) of 0 and 1."""
    if mask.ndim == 3 and len(mask) not in (1, pictures):
        raise UserError(f"the mask of local mode is of {len(mask)} pictures, the batch has {pictures}")
    return (mask != 0).float().expand(pictures, *mask.shape[-2:])

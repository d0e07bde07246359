"""A part of a layer's tokens: the ones that local mode works for, and what stands for the others.

Tokens of a layer are the cells of a grid (h, w), row by row; masks are pictures of any size over the same area.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class TokenSubset:
    """`count` of the n tokens of each of b pictures. chosen: (b * count,) their places in (b * n) tokens, ascending.

    grid: h, w. cell: side of the squares of other tokens that are seen as one; 1: each is seen.
    """

    chosen: Tensor
    count: int
    grid: tuple[int, int]
    cell: int = 1

    def pick(self, x: Tensor) -> Tensor:
        """x: (b, n, c) -> (b, count, c)."""
        return x.flatten(0, 1).index_select(0, self.chosen).unflatten(0, (len(x), self.count))

    def add(self, x: Tensor, increment: Tensor) -> Tensor:
        """x: (b, n, c), increment: (b, count, c) -> x with it, a new tensor."""
        return x.flatten(0, 1).index_add(0, self.chosen, increment.flatten(0, 1).to(x.dtype)).view_as(x)

    def others(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the other tokens look like from afar: x (b, n, c) -> the means over what each cell has of them
        (b, cells, c), and the logarithms of how many those are (b, cells), -inf for none."""
        (h, w), cell, b = self.grid, self.cell, len(x)
        alone = x.new_ones(b * h * w).index_fill(0, self.chosen, 0)
        cells = (b, h // cell, cell, w // cell, cell)
        counts = alone.view(cells).float().sum((2, 4)).flatten(1)
        total = (x * alone.view(b, -1, 1)).view(*cells, -1).sum((2, 4)).flatten(1, 2)
        return total / counts.clamp(min=1).to(x.dtype)[..., None], counts.log()


def choose_tokens(
    mask: Tensor, n: int, *, share: float, latents: tuple[int, int], copies: int = 1, cell: int = 1
) -> TokenSubset | None:
    """The tokens under a mask, and some around it, of a layer that has n, in a model whose latents are (height, width).

    mask: (pictures, height, width), from 0 to 1. share: of the picture under it, the largest of the pictures. copies:
    how often the batch holds the pictures (2 under guidance, one set after the other). None where the layer's tokens
    are no such grid, or all of them are wanted.
    """
    grid, count = grid_of(n, latents), tokens_needed(share, n)
    if grid is None or count >= n:
        return None
    score = F.interpolate(mask[:, None], grid, mode="area")
    around = (score > 0).float()
    for ring in (1, 2, 3):  # what is left over lies around the face
        around = F.max_pool2d(around, 3, stride=1, padding=1)
        score = score + around / 16**ring
    best = score[:, 0].flatten(1).topk(count).indices.sort(1).values.repeat(copies, 1)
    first = torch.arange(len(best), device=best.device)[:, None] * n
    fits = grid[0] % cell == 0 and grid[1] % cell == 0
    return TokenSubset((best + first).flatten(), count, grid, cell if fits else 1)


def tokens_needed(share: float, n: int) -> int:
    """How many of n tokens a face needs that covers `share` of the picture: a square of that area, wherever it lies
    between the tokens."""
    return min(n, math.ceil((math.sqrt(share * n) + 1) ** 2))


def grid_of(n: int, latents: tuple[int, int]) -> tuple[int, int] | None:
    """Height and width of a layer with n tokens: the latents halved, upwards, some number of times."""
    h, w = latents
    while h * w > n:
        h, w = (h + 1) // 2, (w + 1) // 2
    return (h, w) if h * w == n else None

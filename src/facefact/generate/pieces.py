"""New parts for a picture, and how several of them go into it without blending twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Window = tuple[int, int, int, int]  # x0, y0, x1, y1


@dataclass(frozen=True)
class Piece:
    """Something new for a part of a picture. window: x0, y0, x1, y1. patch: (h, w, 3) uint8 of the window. weight: (h,
    w) float32 in [0, 1]: how much of the patch is taken; where it is 0 the picture stays bit for bit."""

    window: Window
    patch: np.ndarray
    weight: np.ndarray

    @property
    def part(self) -> tuple[slice, slice]:
        x0, y0, x1, y1 = self.window
        return slice(y0, y1), slice(x0, x1)


def laid_in(picture: np.ndarray, pieces: Sequence[Piece]) -> np.ndarray:
    """(h, w, 3) uint8 with all the pieces in it. Where several meet, each gets its share of its weight, so that nothing
    is blended twice: one piece alone is picture + weight (patch - picture)."""
    if not pieces:
        return picture
    corners = np.array([piece.window for piece in pieces])
    (x, y), (right, bottom) = corners[:, :2].min(0), corners[:, 2:].max(0)
    old = picture[y:bottom, x:right]
    total, change = np.zeros(old.shape[:2], np.float32), np.zeros(old.shape, np.float32)
    inside = [np.s_[y0 - y : y1 - y, x0 - x : x1 - x] for x0, y0, x1, y1 in corners]
    for piece, part in zip(pieces, inside, strict=True):
        total[part] += piece.weight
    for piece, part in zip(pieces, inside, strict=True):
        share = np.square(piece.weight) / np.maximum(total[part], 1e-6)
        change[part] += share[..., None] * (piece.patch.astype(np.float32) - old[part])
    new = np.clip(np.round(old + change), 0, 255).astype(np.uint8)
    mixed = picture.copy()
    mixed[y:bottom, x:right] = np.where(total[..., None] > 0, new, old)
    return mixed


def turns(windows: Sequence[Window], changes: Sequence[Window]) -> list[list[int]]:
    """Which pieces can be drawn at the same time, by number. windows: what each sees; changes: what of the picture it
    changes. Nobody sees another of the same turn change. Each comes as early as it can, so a row of people takes two
    turns however long it is; those who come later see what was drawn before."""
    found: list[list[int]] = []
    for i in range(len(windows)):
        free = (
            turn
            for turn in found
            if not any(_meet(windows[i], changes[k]) or _meet(windows[k], changes[i]) for k in turn)
        )
        turn = next(free, None)
        if turn is None:
            found.append(turn := [])
        turn.append(i)
    return found


def _meet(one: Window, other: Window) -> bool:
    return max(one[0], other[0]) < min(one[2], other[2]) and max(one[1], other[1]) < min(one[3], other[3])


def box_of(weight: np.ndarray) -> Window:
    """(h, w): the box of what is not 0, which is empty where everything is."""
    rows, columns = np.nonzero(weight.any(1))[0], np.nonzero(weight.any(0))[0]
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

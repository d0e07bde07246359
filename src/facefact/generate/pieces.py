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

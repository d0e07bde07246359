"""Many faces: networks that see a small square miss what is small in a large picture, so they look again, closer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

ROOM = 1 / 3  # of the picture's longer side: beside a face larger than that there is no room for many
SHRINK = 0.6  # side of a tile in sides of the one before
SHARED = 1 / 3  # of a tile's side with the next one: a face up to that size is whole in one of them
NEAR = 3.0  # sides of the faces found so far: in a tile of less, more of them would have been seen
FINEST = 160  # pixels: smaller tiles would show no face larger than they need
MOST_LEVELS = 4
SURE = 0.7  # the more is looked at, the more false hits there are: in tiles only clear ones count
EDGE = 0.02  # of a tile's side: a box nearer to its edge is cut off
LONGEST = 1280  # pixels; the networks look at less, and more only costs time


Tile = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the picture


@dataclass(frozen=True)
class Found:
    """box: (2, 2) [[x0, y0], [x1, y1]] in pixels. points: (5, 2) landmarks in pixels, where the network gives any."""

    box: np.ndarray
    score: float
    points: np.ndarray | None = None

    @property
    def size(self) -> float:
        return float((self.box[1] - self.box[0]).max())

    def moved(self, scale: np.ndarray, offset: np.ndarray) -> Found:
        """Under x -> (x + 0.5) * scale - 0.5 + offset; scale, offset: (2,)."""

        def there(pixels: np.ndarray) -> np.ndarray:
            return (pixels + 0.5) * scale - 0.5 + offset

        return replace(self, box=there(self.box), points=None if self.points is None else there(self.points))


def look_closer(shape: tuple[int, ...], look: Callable[[Tile], list[Found]]) -> list[Found]:
    """All faces that `look` finds in a picture of shape (h, w, ...) or in tiles of it, one for each face.

    The whole picture first; unless a face fills it, overlapping tiles, and smaller ones until faces like those that
    were found would fill them and nothing new is seen.
    """
    height, width = shape[:2]
    kept = distinct(look((0, 0, width, height)))
    longest = max(height, width)
    if any(one.size > ROOM * longest for one in kept):
        return kept
    for level in range(1, MOST_LEVELS + 1):
        side = round(longest * SHRINK**level)
        if side < FINEST:
            break
        found = [one for tile in tiles(height, width, side) for one in look(tile)]
        more = distinct(kept + [one for one in found if one.score >= SURE])
        if len(more) == len(kept) > 0 and side < NEAR * np.median([one.size for one in kept]):
            break
        kept = more
    return kept


def tiles(height: int, width: int, side: int) -> list[Tile]:
    """Overlapping squares of a side, evenly over the picture; cut where it is narrower."""

    def starts(length: int) -> list[int]:
        count = int(np.ceil(max(0, length - side) / (side * (1 - SHARED)))) + 1
        return [int(start) for start in np.linspace(0, max(0, length - side), count).round()]

    return [(x, y, min(x + side, width), min(y + side, height)) for y in starts(height) for x in starts(width)]


def seen_in(picture: np.ndarray, tile: Tile, see: Callable[[np.ndarray], list[Found]]) -> list[Found]:
    """What a network sees in a tile of an (h, w, 3) uint8 RGB picture, in pixels of the picture, without what the tile
    cuts off. see: an (h, w, 3) view, shrunk to LONGEST -> faces in its pixels."""
    x0, y0, x1, y1 = tile
    part = picture[y0:y1, x0:x1]
    scale = min(1.0, LONGEST / max(part.shape[:2]))
    size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    view = part if scale == 1 else cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    back, corner = np.array([(x1 - x0) / size[0], (y1 - y0) / size[1]]), np.array([x0, y0])
    found = [one.moved(back, corner) for one in see(np.ascontiguousarray(view))]
    return [one for one in found if not _cut_off(one.box, tile, picture.shape)]


def _cut_off(box: np.ndarray, tile: Tile, shape: tuple[int, ...]) -> bool:
    """Whether the box reaches an edge of its tile inside the picture: another tile sees all of it."""
    x0, y0, x1, y1 = tile
    margin = EDGE * max(x1 - x0, y1 - y0)
    low = (x0 > 0 and box[0, 0] < x0 + margin) or (y0 > 0 and box[0, 1] < y0 + margin)
    return low or (x1 < shape[1] and box[1, 0] > x1 - margin) or (y1 < shape[0] and box[1, 1] > y1 - margin)


def distinct(found: list[Found]) -> list[Found]:
    """One per face, that with the highest score: two are one where the middle of either lies in the other's box."""
    kept: list[Found] = []
    for one in sorted(found, key=lambda one: one.score, reverse=True):
        if not any(_holds(one.box, other.box) or _holds(other.box, one.box) for other in kept):
            kept.append(one)
    return kept


def _holds(box: np.ndarray, other: np.ndarray) -> bool:
    middle = other.mean(0)
    return bool(((box[0] < middle) & (middle < box[1])).all())

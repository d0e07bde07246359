"""The square about a face that the model sees, at the model's own size, and the way back into the picture.

A model draws a face where the pictures that it learned from have faces, and as large. A square that shows the face
elsewhere, or smaller, gets eyes and mouth beside their places: so the square is laid where the model would draw, is
turned with a tilted head, and goes on beyond the picture's edge (mirrored) rather than being pushed inwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facefact.faces.align import inverse, transform
from facefact.faces.square import seen_through
from facefact.types import Face

TILTED = 8.0  # degrees from which on the square is turned with the head


@dataclass(frozen=True)
class View:
    """matrix: (2, 3) picture -> view, without shear. size: side of the view in pixels. window: x0, y0, x1, y1 of the
    part of the picture that holds all that the view shows of it."""

    matrix: np.ndarray
    size: int
    window: tuple[int, int, int, int]

    def look(self, picture: np.ndarray) -> np.ndarray:
        """(h, w[, c]) picture -> (size, size[, c]); mirrored beyond its edge."""
        return seen_through(
            picture, self.matrix, (self.size, self.size), how=cv2.INTER_CUBIC, border=cv2.BORDER_REFLECT_101
        )

    def look_at_mask(self, mask: np.ndarray) -> np.ndarray:
        """(h, w) float -> (size, size) float32: 0 beyond the picture's edge."""
        size = (self.size, self.size)
        return seen_through(mask.astype(np.float32), self.matrix, size, border=cv2.BORDER_CONSTANT)

    def back(self, patch: np.ndarray, *, how: int = cv2.INTER_CUBIC) -> np.ndarray:
        """(size, size[, c]) -> the window's pixels (y1 - y0, x1 - x0[, c])."""
        x0, y0, x1, y1 = self.window
        matrix = inverse(self.matrix)
        matrix[:, 2] -= (x0, y0)
        return seen_through(patch, matrix, (x1 - x0, y1 - y0), how=how)

    def points(self, picture: np.ndarray) -> np.ndarray:
        """(n, 2) pixels of the picture -> pixels of the view."""
        return transform(picture, self.matrix)

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) pixels of the view -> pixels of the picture."""
        return transform(points, inverse(self.matrix))

    @property
    def part(self) -> tuple[slice, slice]:
        """The window, to index a picture with."""
        x0, y0, x1, y1 = self.window
        return slice(y0, y1), slice(x0, x1)


def view_about(
    face: Face, shape: tuple[int, ...], size: int, *, context: float, centre: tuple[float, float] = (0.5, 0.5)
) -> View:
    """The view of one face in a picture of shape (h, w, ...).

    context: its side in longer sides of the face's box. centre: where the middle of the box lies in it, in sides.
    """
    x0, y0, x1, y1 = face.box
    side = context * max(face.longer_side, 1.0)
    angle = -np.radians(face.pose.roll) if abs(face.pose.roll) > TILTED else 0.0
    scale = size / side
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    matrix = np.column_stack([linear, np.array(centre) * size - 0.5 - linear @ middle])
    corners = transform(np.array([[-0.5, -0.5], [size, -0.5], [size, size], [-0.5, size]]), inverse(matrix))
    low = np.clip(np.floor(corners.min(0)).astype(int), 0, (shape[1] - 1, shape[0] - 1))
    high = np.clip(np.ceil(corners.max(0)).astype(int) + 1, 1, (shape[1], shape[0]))
    return View(matrix, size, (int(low[0]), int(low[1]), int(high[0]), int(high[1])))

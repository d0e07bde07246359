"""Flat anti-aliased shapes on a picture (OpenCV), and the colours they are filled with."""

from __future__ import annotations

import cv2
import numpy as np

SUPERSAMPLING = 2
SUBPIXEL_BITS = 4
Colour = tuple[float, float, float]


def mix(a: Colour, b: Colour, share: float) -> Colour:
    return tuple(x + (y - x) * share for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def ellipse(
    cx: float, cy: float, rx: float, ry: float, *, start: float = 0, stop: float = 360, n: int = 36
) -> np.ndarray:
    """(n, 2) points of an elliptic arc; angles in degrees, clockwise as seen from the +x axis."""
    t = np.radians(np.linspace(start, stop, n))
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], -1)


class Canvas:
    """Flat polygons on a supersampled picture; picture coordinates in [0, 1]."""

    def __init__(self, size: int):
        self.size = size
        self.pixels = np.zeros((size * SUPERSAMPLING, size * SUPERSAMPLING, 3), np.uint8)
        self.scale = size * SUPERSAMPLING * (1 << SUBPIXEL_BITS)

    def _points(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) in [0, 1] -> (n, 2) int32, OpenCV's drawing coordinates."""
        return np.round(np.asarray(points) * self.scale).astype(np.int32)

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """points: (n, 2) corners in [0, 1]."""
        shade = tuple(float(min(255, max(0, c))) for c in colour)
        cv2.fillPoly(self.pixels, [self._points(points)], shade, cv2.LINE_AA, SUBPIXEL_BITS)

    def stroke(self, points: np.ndarray, colour: Colour, width: float, *, closed: bool = False) -> None:
        """points: (n, 2) in [0, 1]. width: share of the picture's side."""
        shade = tuple(float(min(255, max(0, c))) for c in colour)
        thickness = max(1, round(width * self.size * SUPERSAMPLING))
        cv2.polylines(self.pixels, [self._points(points)], closed, shade, thickness, cv2.LINE_AA, SUBPIXEL_BITS)

    def finish(self) -> np.ndarray:
        return cv2.resize(self.pixels, (self.size, self.size), interpolation=cv2.INTER_AREA)

    def mask(self, *shapes: np.ndarray) -> np.ndarray:
        """(size, size) bool: inside any of the shapes."""
        plane = np.zeros((self.size, self.size), np.uint8)
        for shape in shapes:
            points = np.round(np.asarray(shape) * self.size * (1 << SUBPIXEL_BITS)).astype(np.int32)
            cv2.fillPoly(plane, [points], 1, cv2.LINE_8, SUBPIXEL_BITS)
        return plane.astype(bool)

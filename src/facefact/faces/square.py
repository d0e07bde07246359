"""Square views about a face, for networks that look at a small square."""

from __future__ import annotations

import cv2
import numpy as np


def square_about(box: np.ndarray, enlarged: float) -> tuple[np.ndarray, float]:
    """(2, 2) box [[x0, y0], [x1, y1]] -> middle (2,) and side of the square about it, `enlarged` times as large."""
    return box.mean(0), float((box[1] - box[0]).max()) * enlarged


def cut(picture: np.ndarray, square: tuple[np.ndarray, float], size: int) -> tuple[np.ndarray, np.ndarray]:
    """A size x size view of a square (middle, side) of the picture (edge pixels repeated beyond it) and the (2, 3)
    matrix picture -> view."""
    middle, side = square
    scale = size / max(side, 1.0)
    matrix = np.array([[scale, 0, size / 2 - scale * middle[0]], [0, scale, size / 2 - scale * middle[1]]])
    return seen_through(picture, matrix, (size, size)), matrix


def seen_through(
    picture: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    *,
    how: int = cv2.INTER_LINEAR,
    border: int = cv2.BORDER_REPLICATE,
) -> np.ndarray:
    """What a (2, 3) matrix picture -> view shows of an (h, w[, c]) picture: (height, width[, c]) of `size` = width,
    height. how, border: OpenCV's names of the interpolation and of what lies beyond the picture's edge."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale >= 0.5:
        return cv2.warpAffine(picture, matrix, size, flags=how, borderMode=border)
    shrink = 2.0 * scale  # interpolation would skip pixels: shrink first
    new = max(1, round(picture.shape[1] * shrink)), max(1, round(picture.shape[0] * shrink))
    small = cv2.resize(picture, new, interpolation=cv2.INTER_AREA)
    scaled = matrix.copy()
    scaled[:, :2] = matrix[:, :2] / np.array([new[0] / picture.shape[1], new[1] / picture.shape[0]])
    return cv2.warpAffine(small, scaled, size, flags=how, borderMode=border)

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
    how = cv2.INTER_LINEAR
    if scale < 0.5:  # bilinear would skip pixels: shrink first
        shrink = 2.0 * scale
        new = max(1, round(picture.shape[1] * shrink)), max(1, round(picture.shape[0] * shrink))
        small = cv2.resize(picture, new, interpolation=cv2.INTER_AREA)
        steps = np.array([new[0] / picture.shape[1], new[1] / picture.shape[0]])
        scaled = matrix.copy()
        scaled[:, :2] /= steps
        return cv2.warpAffine(small, scaled, (size, size), flags=how, borderMode=cv2.BORDER_REPLICATE), matrix
    return cv2.warpAffine(picture, matrix, (size, size), flags=how, borderMode=cv2.BORDER_REPLICATE), matrix

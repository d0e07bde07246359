"""Alignment to the ArcFace template, as published (docs/method.md, "Face condition")."""

from __future__ import annotations

import cv2
import numpy as np

from facefact.types import UserError

TEMPLATE_SIZE = 112
TEMPLATE = np.array(  # x, y at 112 px, in the order of facefact.types.Face.landmarks (Deng et al., ArcFace)
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The (2, 3) rotation + scale + shift that takes (n, 2) source points nearest to target (least squares).

    Umeyama 1991, eq. 40-43, never a reflection: what skimage's `SimilarityTransform.estimate` computes. UserError if
    the points are not finite or all in one place."""
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    mean_source, mean_target = source.mean(0), target.mean(0)
    from_source, from_target = source - mean_source, target - mean_target
    variance = (from_source**2).sum()
    if not np.isfinite(variance) or variance < 1e-9:
        raise UserError("the face's landmarks are all in one place, it cannot be aligned")
    u, s, vt = np.linalg.svd(from_target.T @ from_source)
    sign = np.array([1.0, 1.0 if np.linalg.det(u) * np.linalg.det(vt) > 0 else -1.0])
    linear = (s * sign).sum() / variance * (u * sign) @ vt
    return np.column_stack([linear, mean_target - linear @ mean_source])


def alignment(landmarks: np.ndarray, size: int = TEMPLATE_SIZE) -> np.ndarray:
    """(5, 2) landmarks in picture pixels -> (2, 3) matrix, picture -> size x size crop."""
    return similarity(landmarks, TEMPLATE * (size / TEMPLATE_SIZE))


def warp(picture: np.ndarray, matrix: np.ndarray, size: int = TEMPLATE_SIZE) -> np.ndarray:
    """The size x size crop of a picture under a (2, 3) matrix: bilinear, 0 where the picture ends."""
    return cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=0.0)


def align(picture: np.ndarray, landmarks: np.ndarray, size: int = TEMPLATE_SIZE) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, 3) uint8 picture, (5, 2) landmarks -> (size, size, 3) uint8 crop, (2, 3) matrix picture -> crop."""
    matrix = alignment(landmarks, size)
    return warp(picture, matrix, size), matrix


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(n, 2) points under a (2, 3) matrix."""
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix that undoes a (2, 3) matrix."""
    return cv2.invertAffineTransform(np.asarray(matrix, np.float64))

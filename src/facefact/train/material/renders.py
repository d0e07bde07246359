"""Renders as trainings see them: with the imperfections of detectors and decoders."""

from __future__ import annotations

import cv2
import numpy as np

from facefact.faces.align import align
from facefact.world import Rendering


def aligned_head(drawn: Rendering, rng: np.random.Generator | None = None) -> np.ndarray:
    """(112, 112, 3) uint8: the published face condition of a render. With `rng`, as imperfect as a detector would make
    it: landmarks off by about a pixel, the mask a little too large or too small, sometimes a softer picture."""
    image, head, points = drawn.image, drawn.head.astype(np.uint8), drawn.landmarks
    if rng is not None:
        points = misplaced(points, rng, image.shape[0])
        grown = int(rng.integers(-1, 4))
        kernel = np.ones((2 * abs(grown) + 1,) * 2, np.uint8)
        head = cv2.dilate(head, kernel) if grown > 0 else cv2.erode(head, kernel) if grown < 0 else head
        image = softened(image, rng)
    return align(image * head[..., None], points)[0]


def misplaced(points: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """Landmarks off by up to about a pixel in 128, in some pictures more than in others."""
    return points + rng.normal(0, 0.008 * size, points.shape).astype(np.float32) * rng.random()


def softened(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every other picture a little blurred and noisy, as decoded pictures are."""
    if rng.random() < 0.5:
        return image
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2) * image.shape[0] / 128)
    noise = rng.normal(0, rng.uniform(0, 6), image.shape)
    return np.clip(soft + noise, 0, 255).astype(np.uint8)

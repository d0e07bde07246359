"""How good a face is as a reference: its size, its sharpness, its light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facefact.faces.align import align
from facefact.faces.reference import LOW_LIGHT
from facefact.types import Face

FULL_SIZE = 112.0  # pixels: a face of this size fills the encoder's input without enlargement
FULL_SHARPNESS = 8.0  # root mean square of the Laplacian of grey levels that a sharp aligned portrait exceeds
DARK, BRIGHT = 60.0, 200.0  # mean grey levels of a face between which the light is fine
HIGHLIGHT = 98  # percentile of its grey levels: the whites of eyes and teeth, and what shines


@dataclass(frozen=True)
class Quality:
    """size: square root of the box's area in pixels. sharpness: RMS of the Laplacian (grey levels) of the aligned face.

    brightness: mean grey level in 0..255. highlight: grey level that 2 % of its pixels exceed, which tells of the light
    whatever the skin. clipped: share of its pixels that are black or white. score: in [0, 1], the product of how far
    size, sharpness and light are fine; a weight for averaging several photos of a person.
    """

    size: float
    sharpness: float
    brightness: float
    highlight: float
    clipped: float
    score: float

    @property
    def well_lit(self) -> bool:
        """Whether something in the face is as bright as only light makes it: a low mean is then dark skin, not a dark
        picture."""
        return self.highlight >= LOW_LIGHT


def face_quality(picture: np.ndarray, face: Face) -> Quality:
    """Measure one face of an (h, w, 3) uint8 RGB picture on its aligned 112 px crop (the inner part, without
    background)."""
    crop, _ = align(picture, face.landmarks)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[30:104, 24:88]
    sharpness = float(np.sqrt(np.mean(cv2.Laplacian(grey, cv2.CV_64F) ** 2)))
    brightness = float(grey.mean())
    highlight = float(np.percentile(grey, HIGHLIGHT))
    clipped = float(np.mean((grey <= 2) | (grey >= 253)))
    size = float(np.sqrt(face.area))
    bright_enough = max(brightness / DARK, highlight / LOW_LIGHT)
    light = min(1.0, bright_enough, (255 - brightness) / (255 - BRIGHT)) * (1 - clipped)
    score = min(1.0, size / FULL_SIZE) * min(1.0, sharpness / FULL_SHARPNESS) * max(0.0, light)
    return Quality(size, sharpness, brightness, highlight, clipped, score)

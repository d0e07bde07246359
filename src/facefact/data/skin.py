"""Objects over a face, without a model: pieces of cheek, forehead, nose or chin that have another colour than the rest.

Only the hue and strength of the colour count, not the lightness, so that shadows, beards and dark or light skin are no
objects. It is blind to grey pictures, to hands, and to whatever lies over eyes or mouth."""

from __future__ import annotations

import cv2
import numpy as np

from facefact.data.records import Candidate, Masks
from facefact.faces.align import TEMPLATE_SIZE, align, warp

# In pixels of the 112 px template. Nobody looks at eyes, brows and glasses, nor at the mouth: middle, half axes.
LEFT_OUT = (((38, 49), (17, 13)), ((74, 49), (17, 13)), ((56, 92), (22, 12)))
EDGE = 7  # side of the square by which the face's outline is narrowed: hair and background begin there
BLUR = 1.5  # grain and JPEG's blocks
SPECK = 5  # side of the square into which a piece must fit
FEWEST = 300  # pixels of skin to compare


class Skin:
    """distance: in CIELAB's a, b from the median of the skin, beyond which a pixel is something else."""

    name = "skin colour"
    licence = "Apache-2.0 (a measurement of this project, no model)"
    reason = "object"

    def __init__(self, distance: float) -> None:
        self.distance = distance

    def share(self, candidate: Candidate, masks: Masks) -> float:
        """Of the skin that is compared: the face without eyes, mouth and edge."""
        odd, compared = self.odd_colours(candidate.picture.pixels, candidate.face.landmarks, masks.face)
        return float(odd.sum() / compared.sum()) if compared.sum() >= FEWEST else 0.0

    def odd_colours(
        self, picture: np.ndarray, landmarks: np.ndarray, face: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(h, w, 3) uint8 RGB, (5, 2) landmarks, (h, w) bool mask of the face -> (112, 112) bool, aligned: what has
        another colour; what was compared."""
        crop, matrix = align(picture, landmarks)
        inside = warp(face.astype(np.float32), matrix) > 0.5
        compared = cv2.erode(inside.astype(np.uint8), np.ones((EDGE, EDGE), np.uint8), borderValue=0) * _skin()
        if not compared.any():
            return compared.astype(bool), compared.astype(bool)
        smooth = cv2.GaussianBlur(crop.astype(np.float32) / 255, (0, 0), BLUR)
        colour = cv2.cvtColor(smooth, cv2.COLOR_RGB2Lab)[..., 1:]
        away = np.linalg.norm(colour - np.median(colour[compared > 0], axis=0), axis=2)
        odd = ((away > self.distance) & (compared > 0)).astype(np.uint8)
        return cv2.morphologyEx(odd, cv2.MORPH_OPEN, np.ones((SPECK, SPECK), np.uint8)).astype(bool), compared > 0


def _skin() -> np.ndarray:
    """(112, 112) uint8: 1 where an aligned face shows skin."""
    skin = np.ones((TEMPLATE_SIZE, TEMPLATE_SIZE), np.uint8)
    for middle, axes in LEFT_OUT:
        cv2.ellipse(skin, middle, axes, 0, 0, 360, 0, -1)
    return skin

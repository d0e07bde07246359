"""Whether what the avatar detector found is a photo after all: drawings are flat, photos are not."""

from __future__ import annotations

import cv2
import numpy as np

from facefact.faces.align import align
from facefact.types import Face

# Of 360 press photos the avatar detector takes 6 for avatars, 5 of them with less than UNSURE; of renders of 96 pixels
# and more none has less. The quietest quarter of such a photo's face has gradients above TEXTURE (of 255 a pixel of the
# 112 px crop), that of a render below 1, or of 2.5 as a JPEG of quality 75.
UNSURE, TEXTURE = 0.9984, 2.5
INNER = (slice(24, 104), slice(20, 92))  # of the 112 px crop: the face


def photographed(picture: np.ndarray, face: Face) -> bool:
    """Whether an (h, w, 3) uint8 RGB picture in which the avatar detector saw `face` is a photo. Both have to say so:
    the detector that is not quite sure, and the texture of the skin."""
    return face.score < UNSURE and texture(picture, face.landmarks) > TEXTURE


def texture(picture: np.ndarray, landmarks: np.ndarray) -> float:
    """Gradient of lightness (grey levels a pixel of the 112 px crop) that three quarters of the face exceed."""
    crop, _ = align(picture, landmarks)
    light = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32)[INNER]
    return float(
        np.percentile(np.hypot(cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)) / 8, 25)
    )

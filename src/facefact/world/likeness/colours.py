"""The colours of a face in a photo, in CIELAB (L* in 0..100).

The light is not taken out. Grey world, the whites of the eyes and the brightest two percent of the face were tried on
360 press photos: with none of them did two photos of one person agree better (docs/evidence/avatar.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facefact.faces.mask import polygon_mask
from facefact.world.likeness.sight import SIDE, Sight

# In MediaPipe's mesh.
CHEEKS, FOREHEAD = (50, 205, 280, 425, 117, 346), (151, 108, 337)
LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]
MOUTH = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191]
BROWS = (
    [70, 63, 105, 66, 107, 55, 65, 52, 53, 46],
    [300, 293, 334, 296, 336, 285, 295, 282, 283, 276],
)
EYES = (
    [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246],
    [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466],
)
IRISES = ((468, (469, 470, 471, 472)), (473, (474, 475, 476, 477)))
WARM, SKIN_YELLOW = 0.4, 22.0  # the latter: the mean of 360 press photos
COVERED = 25.0  # CIELAB distance from cheeks to forehead beyond which hair, a hat or a shadow lies on the forehead


@dataclass(frozen=True)
class Colours:
    """(3,) L*, a*, b* of each, None where it is not seen. skin: of the cheeks, and of the forehead where it is bare.
    cheeks: of the cheeks alone."""

    skin: np.ndarray
    cheeks: np.ndarray
    lips: np.ndarray | None = None
    brows: np.ndarray | None = None
    irises: np.ndarray | None = None


def lab(colours: np.ndarray) -> np.ndarray:
    """(..., 3) RGB in 0..255 -> (..., 3) float CIELAB."""
    values = np.clip(np.asarray(colours, np.float32) / 255, 0, 1).reshape(-1, 1, 3)
    return cv2.cvtColor(values, cv2.COLOR_RGB2Lab).reshape(np.shape(colours)).astype(np.float64)


def without_warmth(colour: np.ndarray, skin: np.ndarray) -> float:
    """b* of a (3,) CIELAB colour less WARM of what the (3,) skin's b* has above SKIN_YELLOW: in warm light all is
    yellow."""
    return float(colour[2] - WARM * (skin[2] - SKIN_YELLOW))


def colours_of(sight: Sight) -> Colours:
    """What a photo shows."""
    if sight.mesh is None:
        return _of_five(sight)
    points = sight.mesh[:, :2]
    eyes = float(np.linalg.norm(points[33] - points[263]))
    cheeks = _lit(sight.view[_discs(points[list(CHEEKS)], 0.085 * eyes)])
    forehead = _lit(sight.view[_discs(points[list(FOREHEAD)], 0.09 * eyes)])
    bare = np.linalg.norm(forehead - cheeks) < COVERED
    inside = lambda outline: polygon_mask(sight.view.shape, points[outline])  # noqa: E731
    return Colours(
        skin=(cheeks + forehead) / 2 if bare else cheeks,
        cheeks=cheeks,
        lips=_median(sight.view[inside(LIPS) & ~inside(MOUTH)]),
        brows=_dark_half(sight.view[inside(BROWS[0]) | inside(BROWS[1])]),
        irises=_median(sight.view[(inside(EYES[0]) | inside(EYES[1])) & _irises(points)]),
    )


def _of_five(sight: Sight) -> Colours:
    """Halfway between eye and corner of the mouth is a cheek, however the head is turned."""
    eyes, mouth = sight.five[:2], sight.five[3:]
    cheeks = _lit(sight.view[_discs((eyes + mouth) / 2, 0.12 * float(np.linalg.norm(eyes[1] - eyes[0])))])
    return Colours(skin=cheeks, cheeks=cheeks)


def _irises(points: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) bool."""
    radius = np.mean([np.linalg.norm(points[list(ring)] - points[middle], axis=1).mean() for middle, ring in IRISES])
    return _discs(points[[middle for middle, _ in IRISES]], 0.95 * float(radius))


def _discs(middles: np.ndarray, radius: float) -> np.ndarray:
    """(SIDE, SIDE) bool: within a radius, in pixels, of any of (n, 2) points; at least their own pixels."""
    plane = np.zeros((SIDE, SIDE), np.uint8)
    for x, y in np.round(np.clip(middles, 0, SIDE - 1) * 16).astype(int):
        cv2.circle(plane, (int(x), int(y)), max(8, round(radius * 16)), 1, -1, cv2.LINE_8, 4)
    return plane.astype(bool)


def _lit(pixels: np.ndarray) -> np.ndarray:
    """(n, 3) RGB of skin -> (3,) CIELAB, the median of what is neither in shadow nor a highlight."""
    light = pixels @ np.array([0.299, 0.587, 0.114])
    low, high = np.percentile(light, [20, 95])
    return lab(np.median(pixels[(light >= low) & (light <= high)], 0))


def _median(pixels: np.ndarray) -> np.ndarray | None:
    """(n, 3) RGB -> (3,) CIELAB, None of fewer than six."""
    return lab(np.median(pixels, 0)) if len(pixels) > 5 else None


def _dark_half(pixels: np.ndarray) -> np.ndarray | None:
    """As `_median`, of the darker half: hair between which skin is seen."""
    light = pixels.sum(1)
    return _median(pixels[light <= np.median(light)]) if len(pixels) > 5 else None

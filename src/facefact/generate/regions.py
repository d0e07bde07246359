"""What of a picture is repainted."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from facefact.faces.align import alignment, inverse, transform
from facefact.faces.mask import head_ellipse, polygon_mask, template_ellipse
from facefact.generate.skin_tone import cheek_colour, like_skin
from facefact.types import Face

Region = Literal["face", "hair", "head"]

GROWTH = 0.06  # how far the repainted region reaches beyond the face, in longer sides of its box
FEATHER = 0.04  # width of the blend (a Gaussian's sigma), in the same unit
# A face from hairline to chin in the 112 px ArcFace template (eyes at y = 52, mouth corners at y = 92).
FACE_CENTRE = (56.0, 64.0)
FACE_AXES = (44.0, 54.0)
FOREHEAD, EYELIDS = 24.0, 43.0  # y of what is above the brows, and of what is above the eyes, in the same template


def region_mask(
    face: Face, picture: np.ndarray, *, region: Region = "face", head: np.ndarray | None = None
) -> np.ndarray:
    """(h, w) bool: what belongs to the face ("face"), to face and hair ("hair"), or to the whole head with hats and
    ears ("head"), in an (h, w, 3) uint8 RGB picture. head: (h, w) bool, head and hair as a detector saw them; needed
    for "hair" and "head"."""
    if face.oval is not None and len(face.oval) > 2:
        outline = np.asarray(face.oval, np.float64)
    else:
        outline = transform(template_ellipse(FACE_CENTRE, FACE_AXES), inverse(alignment(face.landmarks)))
    inside = polygon_mask(picture.shape, outline)
    if region == "face":
        return inside & ~fringe(face, picture)
    if head is None:
        raise ValueError(f"the region {region!r} needs the detector's mask of the head")
    inside |= head
    return inside | head_ellipse(picture.shape, face.landmarks) if region == "head" else inside


def fringe(face: Face, picture: np.ndarray) -> np.ndarray:
    """(h, w) bool: hair and hats over the forehead, which detectors that see through them count as face: what has
    another colour than the cheeks and comes down from above the brows. (Brows do not; they belong to the face.)"""
    back = inverse(alignment(face.landmarks))
    upper, brows = (
        polygon_mask(picture.shape, transform(np.array([[-60, -90], [172, -90], [172, low], [-60, low]]), back))
        for low in (FOREHEAD, EYELIDS)
    )
    cheeks = cheek_colour(picture, face.landmarks)
    if cheeks is None or not upper.any():
        return upper
    rows, columns = np.nonzero(brows)
    part = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    other = brows[part] & ~like_skin(picture[part], cheeks)
    _, pieces = cv2.connectedComponents(other.astype(np.uint8), connectivity=4)
    whole = np.zeros(upper.shape, bool)
    whole[part] = other & np.isin(pieces, np.unique(pieces[other & upper[part]]))
    return whole


def softened(mask: np.ndarray, size: float) -> np.ndarray:
    """(h, w) bool -> float32 in [0, 1]: grown, with a soft edge; exactly 0 from a little further on. size: of the face,
    `Face.longer_side`."""
    return feathered(grown(mask, size), size)


def grown(mask: np.ndarray, size: float) -> np.ndarray:
    """(h, w) bool -> float32 of 0 and 1, reaching a little further."""
    reach = 2 * round(GROWTH * size) + 1
    return cv2.dilate(mask.astype(np.float32), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))


def feathered(mask: np.ndarray, size: float) -> np.ndarray:
    """(h, w) float32 of 0 and 1 -> with a soft edge, exactly 0 from a little further on."""
    weight = cv2.GaussianBlur(mask, (0, 0), max(0.5, FEATHER * size))
    return np.where(weight < 1 / 255, 0, weight).astype(np.float32)

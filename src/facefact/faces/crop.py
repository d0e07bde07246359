"""From a picture to what the encoder sees: detect, choose, mask the head, align (docs/method.md, "Face condition")."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

import numpy as np

from facefact.faces.align import alignment, inverse, transform, warp
from facefact.faces.choice import choose_face, get_detector
from facefact.faces.detector import Detector
from facefact.faces.mask import clean_head, face_area
from facefact.faces.picture import PictureLike, name_of, open_picture
from facefact.faces.pose import pose_from_landmarks
from facefact.faces.reference import costs
from facefact.types import Face, FaceCrop, UserError

log = logging.getLogger(__name__)

TEMPLATE_BOX = np.array([[18.0, 22.0], [94.0, 114.0]])  # where a detector's box lies in the 112 px template, on average


def head_mask(picture: np.ndarray, face: Face, *, detector: Detector) -> np.ndarray:
    """(h, w) bool: the head with hair, dilated as published, its largest region. `detector`: who found it."""
    return clean_head(detector.head_mask(picture, face), face_area(face))


def face_crop(picture: PictureLike, *, detector: Detector | None = None, which: int = 0, warn: bool = True) -> FaceCrop:
    """The chosen face (0: the largest) of a picture as the encoder wants it. The log warns of what makes it a worse
    reference, unless `warn` is False: it is none. UserError: which file, what is wrong."""
    pixels = open_picture(picture)
    try:
        detector = detector or get_detector()
        face = choose_face(detector.detect(pixels), which)
    except UserError as error:
        where = f"{os.fspath(picture)}: " if isinstance(picture, str | os.PathLike) else ""
        raise UserError(f"{where}{error}") from None
    for cost in costs(pixels, face) if warn else ():
        log.warning("%s: %s", name_of(picture), cost)
    return _masked_and_aligned(pixels, face, head_mask(pixels, face, detector=detector))


def face_crop_from(
    picture: PictureLike, *, landmarks: np.ndarray, head: np.ndarray, face: Face | None = None
) -> FaceCrop:
    """The same for callers that know the truth: (5, 2) landmarks in pixels and an (h, w) bool head mask, undilated.

    `face`: what else is known of it (box, oval, pose); estimated from the landmarks where None.
    """
    pixels = open_picture(picture, max_side=2**31)
    if head.shape != pixels.shape[:2]:
        raise ValueError(f"a head mask of {head.shape} does not fit a picture of {pixels.shape[:2]}")
    face = replace(face, landmarks=np.asarray(landmarks, np.float32)) if face else face_from_landmarks(landmarks)
    return _masked_and_aligned(pixels, face, clean_head(head, face_area(face)))


def face_from_landmarks(landmarks: np.ndarray, *, backend: str = "truth") -> Face:
    """A Face of which only the (5, 2) landmarks in pixels are known: box and pose follow from them."""
    landmarks = np.asarray(landmarks, np.float32)
    (left, top), (right, bottom) = TEMPLATE_BOX
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    corners = transform(corners, inverse(alignment(landmarks)))
    middle, size = corners.mean(0), (TEMPLATE_BOX[1] - TEMPLATE_BOX[0]) * _enlargement(landmarks)
    low, high = middle - size / 2, middle + size / 2
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Face(box=box, landmarks=landmarks, score=1.0, pose=pose_from_landmarks(landmarks), backend=backend)


def _enlargement(landmarks: np.ndarray) -> float:
    """(5, 2) landmarks -> picture pixels per template pixel."""
    return 1 / float(np.sqrt(np.linalg.det(alignment(landmarks)[:, :2])))


def _masked_and_aligned(picture: np.ndarray, face: Face, head: np.ndarray) -> FaceCrop:
    """picture: (h, w, 3) uint8 RGB. head: (h, w) bool."""
    matrix = alignment(face.landmarks)
    return FaceCrop(pixels=warp(picture * head[..., None], matrix), matrix=matrix, head=head, face=face)

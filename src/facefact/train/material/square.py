"""Of a picture the largest square about its face, at the size that is trained on."""

from __future__ import annotations

import cv2
import numpy as np

from facefact.train.material.samples import Phrase, Sample, brightness

SUBJECT = "portrait of a person"  # the caption of a picture that brings none
VERSION = 1  # of how a picture becomes a sample; a change makes other samples of the same files


def squared(
    pixels: np.ndarray,
    mask: np.ndarray,
    size: int,
    *,
    box: tuple[float, ...],
    landmarks: np.ndarray,
    head: np.ndarray,
    caption: str | None,
    person: str,
    yaw: float,
) -> Sample:
    """Of a whole picture (h, w, 3) with its face's mask (h, w) bool, box and landmarks the largest square about the
    face, scaled. The rest as in `Sample`."""
    height, width = pixels.shape[:2]
    cut, scale = square_around(box, height, width), size / min(height, width)
    image, face = scaled(pixels[cut], size), scaled(mask.astype(np.float32)[cut], size)
    return Sample(
        image=image,
        face=face,
        landmarks=moved(landmarks, cut, scale),
        head=head,
        phrases=caption_phrases(caption or SUBJECT),
        person=person,
        yaw=yaw,
        light=brightness(image, face),
        face_size=float(face.mean()),
        original=(height, width),
        crop=(round(cut[0].start * scale), round(cut[1].start * scale)),
    )


def caption_phrases(caption: str) -> tuple[Phrase, ...]:
    """The parts between commas; the first one, who it is, always stays."""
    return tuple(Phrase(part, optional=i > 0) for i, part in enumerate(caption.split(", ")))


def square_around(box: tuple[float, ...], height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the largest square in a picture, moved as near to the face's middle as the edges allow."""
    side = min(height, width)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    top = round(min(max(y - side / 2, 0), height - side))
    left = round(min(max(x - side / 2, 0), width - side))
    return slice(top, top + side), slice(left, left + side)


def moved(points: np.ndarray, cut: tuple[slice, slice], scale: float) -> np.ndarray:
    """(n, 2) float32 points of a picture, in pixels of what was cut from it and scaled; centres at integers."""
    corner = np.array([cut[1].start, cut[0].start])
    return ((points - corner + 0.5) * scale - 0.5).astype(np.float32)


def scaled(square: np.ndarray, size: int) -> np.ndarray:
    """(n, n[, 3]) -> (size, size[, 3]): by area when it shrinks, bilinear when it grows."""
    how = cv2.INTER_AREA if size < len(square) else cv2.INTER_LINEAR
    return cv2.resize(square, (size, size), interpolation=how)

"""Of a picture the largest cut of a shape about its face, at the size that is trained on: a square, or a bucket's."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facefact.train.material.samples import Phrase, Sample, brightness

SUBJECT = "portrait of a person"  # the caption of a picture that brings none
VERSION = 1  # of how a picture becomes a sample; a change makes other samples of the same files
Shape = tuple[int, int]  # height, width
Cut = tuple[slice, slice]  # rows and columns of a picture


@dataclass(frozen=True)
class Photo:
    """A whole picture of a person, with what was found in it, before anything is cut out of it.

    pixels: (h, w, 3) uint8 RGB. face: (h, w) bool, without hair. head: (h, w) bool, with hair. box: x0, y0, x1, y1.
    landmarks: (5, 2) float32, as in `Face`. condition: (112, 112, 3) uint8, the aligned head, black outside it. yaw:
    degrees.
    """

    pixels: np.ndarray
    face: np.ndarray
    head: np.ndarray
    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    condition: np.ndarray
    caption: str | None
    person: str
    yaw: float

    @property
    def shape(self) -> Shape:
        return self.pixels.shape[0], self.pixels.shape[1]


def sample_of(photo: Photo, cut: Cut, shape: Shape) -> Sample:
    """What a cut of the photo becomes at `shape`."""
    height, width = scale = scale_of(cut, shape)
    image, face = scaled(photo.pixels[cut], shape), scaled(photo.face.astype(np.float32)[cut], shape)
    return Sample(
        image=image,
        face=face,
        landmarks=moved(photo.landmarks, cut, scale),
        head=photo.condition,
        phrases=caption_phrases(photo.caption or SUBJECT),
        person=photo.person,
        yaw=photo.yaw,
        light=brightness(image, face),
        face_size=float(face.mean()),
        original=photo.shape,
        crop=(round(cut[0].start * height), round(cut[1].start * width)),
    )


def caption_phrases(caption: str) -> tuple[Phrase, ...]:
    """The parts between commas; the first one, who it is, always stays."""
    return tuple(Phrase(part, optional=i > 0) for i, part in enumerate(caption.split(", ")))


def cut_around(box: tuple[float, ...], picture: Shape, shape: Shape = (1, 1)) -> Cut:
    """The largest cut of the shape's proportions in a picture, as near to the middle of the box as the edges allow."""
    middle = ((box[1] + box[3]) / 2, (box[0] + box[2]) / 2)
    return cut_at(middle, sides_of(picture, shape), picture)


def sides_of(picture: Shape, shape: Shape) -> Shape:
    """The largest sides of the shape's proportions that a picture has room for."""
    room = min(picture[0] / shape[0], picture[1] / shape[1])
    return round(room * shape[0]), round(room * shape[1])


def cut_at(middle: tuple[float, float], sides: Shape, picture: Shape) -> Cut:
    """Of these sides about a point y, x of a picture; as near to it as the edges allow."""
    rows, columns = (
        slice(first, first + side)
        for first, side in (
            (round(min(max(at - side / 2, 0), length - side)), side)
            for at, side, length in zip(middle, sides, picture, strict=True)
        )
    )
    return rows, columns


def scale_of(cut: Cut, shape: Shape) -> tuple[float, float]:
    """Pixels of the sample for one of the picture: down, and across (alike but for the rounding of the cut)."""
    return shape[0] / (cut[0].stop - cut[0].start), shape[1] / (cut[1].stop - cut[1].start)


def moved(points: np.ndarray, cut: Cut, scale: tuple[float, float]) -> np.ndarray:
    """(n, 2) float32 points x, y of a picture, in pixels of what was cut from it and scaled; centres at integers."""
    corner = np.array([cut[1].start, cut[0].start])
    return ((points - corner + 0.5) * scale[::-1] - 0.5).astype(np.float32)


def scaled(part: np.ndarray, shape: Shape) -> np.ndarray:
    """(h, w[, 3]) -> (height, width[, 3]) of the shape: by area when it shrinks, bilinear when it grows."""
    how = cv2.INTER_AREA if shape[0] < len(part) else cv2.INTER_LINEAR
    return cv2.resize(part, shape[::-1], interpolation=how)

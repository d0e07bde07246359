"""Neck and ears under new faces: in the new skin, and as clear as the template draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from facefact.faces import Detector
from facefact.faces.align import alignment, inverse, transform
from facefact.faces.mask import polygon_mask
from facefact.generate.pieces import Piece
from facefact.generate.regions import region_mask
from facefact.generate.settling import nearest_face
from facefact.generate.skin_tone import skin_follows
from facefact.types import Face

EDGE = 0.02  # sigma of the edge between a new face and recoloured skin, in longer sides of the face's box
EYES, MOUTH = 52.0, 92.0  # y of eyes and of the mouth's corners in the 112 px ArcFace template


@dataclass(frozen=True)
class Change:
    """old, new: (h, w, 3) uint8 sRGB, before and after the faces were laid in. faces: the replaced ones, in `old`.
    placed: (5, 2) landmarks of the new ones."""

    old: np.ndarray
    new: np.ndarray
    faces: Sequence[Face]
    placed: Sequence[np.ndarray]


def skin_under(change: Change) -> list[Piece]:
    """What the new faces are to be laid over: where their soft edge lets the old neck through, it is in the new skin
    too."""
    found = [
        skin_follows(
            change.old, change.new, face, points, others=[other for other in change.faces if other is not face]
        )
        for face, points in zip(change.faces, change.placed, strict=True)
    ]
    return [piece for piece in found if piece is not None]


def beside_skin(
    change: Change, pieces: Sequence[Piece], skin: Sequence[Piece], *, new_heads: bool, detector: Detector | None
) -> list[Piece]:
    """The new faces without what their soft edges cover of recoloured skin: that is drawn clearly already, and what the
    model saw there was the old neck. pieces: one for each face. new_heads: they have outlines of their own."""
    recoloured = np.zeros(change.old.shape[:2], np.float32)
    for one in skin:
        recoloured[one.part] = np.maximum(recoloured[one.part], one.weight)
    kept = []
    for piece, face, points in zip(pieces, change.faces, change.placed, strict=True):
        stays = _staying(change, face, points, detector) if new_heads else _staying_in_place(change, face)
        soft = cv2.GaussianBlur(stays.astype(np.float32), (0, 0), max(0.5, EDGE * face.longer_side))
        kept.append(replace(piece, weight=piece.weight * (1 - (recoloured * (1 - soft))[piece.part])))
    return kept


def _staying_in_place(change: Change, face: Face) -> np.ndarray:
    """(h, w) bool: what stays of a new face beside recoloured skin: the old one's region, and all above the eyes, where
    skin ends in hair."""
    return region_mask(face, change.old) | above(change.old.shape, face.landmarks, EYES)


def _staying(change: Change, face: Face, points: np.ndarray, detector: Detector | None) -> np.ndarray:
    """The same of a head of its own: its face as well as the old one, and all above the mouth."""
    old, near = region_mask(face, change.old), nearest_face(change.new, points, detector)
    new = old if near is None else region_mask(near, change.new)
    return old | new | above(change.old.shape, points, MOUTH)


def above(shape: tuple[int, ...], landmarks: np.ndarray, height: float) -> np.ndarray:
    """(h, w) bool of a picture (h, w, ...): all above a height, in pixels of the ArcFace template, of a face with the
    (5, 2) landmarks."""
    far = 112.0 * 20
    half = np.array([[-far, -far], [far, -far], [far, height], [-far, height]])
    return polygon_mask(shape, transform(half, inverse(alignment(landmarks))))

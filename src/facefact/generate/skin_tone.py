"""Neck and ears in the skin of the new face: a shift of colour in CIELAB where the old skin was."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from facefact.faces.align import alignment, inverse, transform
from facefact.faces.mask import face_mask, polygon_mask
from facefact.generate.pieces import Piece, Window
from facefact.types import Face

# Where a face shows bare skin, in the 112 px ArcFace template: both cheeks under the eyes, and the nose's bridge.
CHEEKS = (((33, 76), (9, 8)), ((79, 76), (9, 8)), ((56, 62), (5, 6)))
# How far neck and ears reach from the middle of the box, in its longer side: left, up, right, down.
REACH = (0.62, 0.35, 0.62, 0.95)
ALIKE = (26.0, 11.0)  # lightness, colour (a, b): skin is nearer to the cheeks' than this
SOFT = 0.012  # sigma of the mask's edge, in longer sides of the face's box
FEWEST = 12  # pixels of cheek to judge by


def cheek_colour(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
    """(3,) the median CIELAB colour of the cheeks in an (h, w, 3) uint8 RGB picture, whose face has the (5, 2)
    landmarks; None where too little of them is in the picture."""
    back, turn = inverse(alignment(landmarks)), np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.column_stack([np.cos(turn), np.sin(turn)])
    inside = np.zeros(picture.shape[:2], bool)
    for middle, axes in CHEEKS:
        inside |= polygon_mask(picture.shape, transform(circle * axes + middle, back))
    return np.median(to_lab(picture[inside][None])[0], axis=0) if inside.sum() >= FEWEST else None


def like_skin(picture: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """(h, w) bool: pixels of an (h, w, 3) uint8 RGB picture near a (3,) CIELAB colour of skin."""
    away = np.abs(to_lab(picture) - colour)
    return (away[..., 0] < ALIKE[0]) & (np.linalg.norm(away[..., 1:], axis=-1) < ALIKE[1])


def skin_mask(picture: np.ndarray, face: Face, window: Window, *, others: Sequence[Face] = ()) -> np.ndarray:
    """(h, w) float32 in [0, 1] of the window: skin of the face's person, coloured as the cheeks and touching the face.

    others: faces of other people, which stay as they are.
    """
    x0, y0, x1, y1 = window
    colour = cheek_colour(picture, face.landmarks)
    if colour is None:
        return np.zeros((y1 - y0, x1 - x0), np.float32)
    alike = like_skin(picture[y0:y1, x0:x1], colour)
    own = face_mask(picture.shape, face)[y0:y1, x0:x1]
    for other in others:
        alike &= ~face_mask(picture.shape, other)[y0:y1, x0:x1]
    edge = max(3, 2 * round(0.03 * face.longer_side) + 1)
    near = cv2.dilate(own.astype(np.uint8), np.ones((edge, edge), np.uint8)) > 0
    _, parts = cv2.connectedComponents((alike | near).astype(np.uint8), connectivity=4)
    touching = np.isin(parts, np.unique(parts[own])) & alike if own.any() else alike
    return cv2.GaussianBlur(touching.astype(np.float32), (0, 0), max(0.5, SOFT * face.longer_side))


def skin_follows(
    old: np.ndarray, new: np.ndarray, face: Face, landmarks: np.ndarray, *, others: Sequence[Face] = ()
) -> Piece | None:
    """Face, neck and ears of the old picture in the new face's skin, to lie under the new face. None where there is
    nothing to see of them.

    old, new: (h, w, 3) uint8 sRGB, before and after. face: in `old`; landmarks: (5, 2) of the new face. others: faces
    that are other people's.
    """
    was, is_now = cheek_colour(old, face.landmarks), cheek_colour(new, landmarks)
    if was is None or is_now is None:
        return None
    window = reach(face, old.shape)
    x0, y0, x1, y1 = window
    weight = skin_mask(old, face, window, others=others)
    weight = np.where(weight < 1 / 255, 0, weight).astype(np.float32)
    if not weight.any():
        return None
    lab = to_lab(old[y0:y1, x0:x1])
    lab[..., 0] *= is_now[0] / max(was[0], 1.0)  # a ratio, so that shadow stays shadow
    lab[..., 1:] += is_now[1:] - was[1:]
    return Piece(window, from_lab(lab), weight)


def reach(face: Face, shape: tuple[int, ...]) -> Window:
    """x0, y0, x1, y1 of the part of the picture in which neck and ears lie."""
    side, x, y = face.longer_side, (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
    left, up, right, down = REACH
    x0, y0 = max(0, round(x - left * side)), max(0, round(y - up * side))
    return x0, y0, min(shape[1], round(x + right * side) + 1), min(shape[0], round(y + down * side) + 1)


def to_lab(picture: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 RGB -> float32 CIELAB (lightness 0..100)."""
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)


def from_lab(lab: np.ndarray) -> np.ndarray:
    """The way back, clipped: (h, w, 3) float32 -> uint8 RGB."""
    rgb = cv2.cvtColor(np.clip(lab, [0, -127, -127], [100, 127, 127]).astype(np.float32), cv2.COLOR_Lab2RGB)
    return np.round(np.clip(rgb, 0, 1) * 255).astype(np.uint8)

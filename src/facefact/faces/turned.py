"""Pictures that lie on their side or stand on their head and do not say so (scans, phones): the way up is found by
comparing how sure a detector is. Turns are counted in quarters, counter-clockwise, as `np.rot90` does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from facefact.faces.detector import largest_first
from facefact.faces.pose import pose_from_landmarks
from facefact.types import Face

CLEARLY = 0.02  # by how much the score of another way up must be higher


def _score(face: Face) -> float:
    return face.score


def any_way_up(
    picture: np.ndarray,
    detect: Callable[[np.ndarray], list[Face]],
    *,
    sure: float,
    clearly: float = CLEARLY,
    surety: Callable[[Face], float] = _score,
) -> list[Face]:
    """The faces of an (h, w, 3) uint8 RGB picture, whichever way up it is, in its own pixels.

    surety: how sure it is that a face is upright, by default its score. sure: with at least that of the best face the
    picture is taken to be upright as it is; otherwise all four ways up are compared, and the one with the surest face
    is right; by `clearly` it must be surer than the picture as it is.
    """
    faces = detect(picture)
    best = max(map(surety, faces), default=-math.inf)
    if best >= sure:
        return faces
    right = 0
    for turn in (1, 2, 3):
        found = detect(turned(picture, turn))
        its_best = max(map(surety, found), default=-math.inf)
        if its_best > best + clearly * (right == 0):
            faces, best, right = found, its_best, turn
    height, width = picture.shape[:2]
    shape = (width, height) if right % 2 else (height, width)
    return largest_first(face_turned(face, shape, -right) for face in faces)


def turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """(h, w, ...) turned by so many quarters."""
    return np.ascontiguousarray(np.rot90(pixels, turn))


def way_up(face: Face) -> int:
    """How many quarters its picture must be turned for the face to be upright, 0..3."""
    return round(face.pose.roll / 90) % 4


def upright(picture: np.ndarray, face: Face) -> tuple[np.ndarray, Face]:
    """An (h, w, 3) picture turned by quarters so that its face is upright, and the face there."""
    turn = way_up(face)
    return (turned(picture, turn), face_turned(face, picture.shape, turn)) if turn else (picture, face)


def face_turned(face: Face, shape: tuple[int, ...], turn: int) -> Face:
    """The face as it is in its picture of shape (h, w, ...) when that is turned by so many quarters."""
    if turn % 4 == 0:
        return face
    box = points_turned(np.array(face.box).reshape(2, 2), shape, turn)
    low, high = box.min(0).tolist(), box.max(0).tolist()
    landmarks = points_turned(face.landmarks, shape, turn).astype(np.float32)
    return replace(
        face,
        box=(low[0], low[1], high[0], high[1]),
        landmarks=landmarks,
        pose=pose_from_landmarks(landmarks),
        oval=None if face.oval is None else points_turned(face.oval, shape, turn).astype(np.float32),
        mesh=None if face.mesh is None else points_turned(face.mesh, shape, turn).astype(np.float32),
    )


def points_turned(points: np.ndarray, shape: tuple[int, ...], turn: int) -> np.ndarray:
    """(n, 2) points x, y of a picture of shape (h, w, ...) where they are when it is turned by so many quarters."""
    height, width = shape[:2]
    for _ in range(turn % 4):
        points = np.stack([points[:, 1], width - 1 - points[:, 0]], -1)
        height, width = width, height
    return points

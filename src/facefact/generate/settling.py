"""A face that was drawn beside its place is found again and moved there."""

from __future__ import annotations

import cv2
import numpy as np

from facefact.faces import Detector
from facefact.faces.align import similarity, transform
from facefact.faces.square import seen_through
from facefact.types import Face

NEAR = 0.02  # of the eye distance: a face that lies nearer than this to the old one is left where it is
ROUNDS = 2  # a face that was moved may be seen a little differently against the template
FAR = 1.0  # of the eye distance: what lies further off is no face that was misplaced, but another one


def settled(
    drawn: np.ndarray, wanted: np.ndarray, detector: Detector | None, *, behind: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(size, size, 3) uint8 with the face that was drawn moved, so that the middle of its eyes and that of its mouth
    lie where the (5, 2) wanted landmarks have them; and its landmarks.

    Looked for in what will be seen: the drawing over what is behind, (size, size, 3), by the mask (size, size, 1). It
    stays as it is where no face is found, or none that could be meant."""
    distance = max(float(np.linalg.norm(wanted[1] - wanted[0])), 1.0)
    placed, matrix, points = drawn, np.eye(3)[:2], wanted
    for _ in range(ROUNDS):
        over = np.round(behind + mask * (placed.astype(np.float32) - behind)).astype(np.uint8)
        found = found_landmarks(over, wanted, detector)
        if found is None:
            break
        points = found
        if np.linalg.norm(middles(points) - middles(wanted), axis=1).max() <= NEAR * distance:
            break
        moved = similarity(middles(points), middles(wanted))
        points = transform(points, moved)
        matrix = (np.vstack([moved, [0, 0, 1]]) @ np.vstack([matrix, [0, 0, 1]]))[:2]
        placed = seen_through(drawn, matrix, (drawn.shape[1], drawn.shape[0]), how=cv2.INTER_CUBIC)
    return placed, points


def middles(points: np.ndarray) -> np.ndarray:
    """(5, 2) landmarks -> (2, 2): the middle of the eyes, and that of the mouth."""
    return np.stack([points[:2].mean(0), points[3:].mean(0)])


def found_landmarks(drawn: np.ndarray, wanted: np.ndarray, detector: Detector | None) -> np.ndarray | None:
    """(5, 2) of the face that lies nearest to the wanted landmarks; None without one that could be meant."""
    near = nearest_face(drawn, wanted, detector)
    return None if near is None else near.landmarks.astype(np.float64)


def nearest_face(drawn: np.ndarray, wanted: np.ndarray, detector: Detector | None) -> Face | None:
    """That whose landmarks lie nearest to the (5, 2) wanted ones; None without one that could be meant."""
    faces = [] if detector is None else detector.detect(drawn)
    distance = max(float(np.linalg.norm(wanted[1] - wanted[0])), 1.0)
    away = [float(np.linalg.norm(face.landmarks - wanted, axis=1).mean()) / distance for face in faces]
    if not away or min(away) > FAR:
        return None
    return faces[int(np.argmin(away))]

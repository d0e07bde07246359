"""Hands over a face, found by MediaPipe 0.10.14, whose wheel carries the models: palms, then 21 points a hand."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from facefact.data.records import Candidate, Masks
from facefact.faces.align import inverse, transform
from facefact.faces.mask import polygon_mask
from facefact.faces.mediapipe import load, quiet
from facefact.faces.square import cut, square_about
from facefact.types import Face

# Squares about the face: side in units of the box's longer side, and pixels of the view. One view sees 30 % to 45 % of
# the hands that lie over a face, and each view sees others; of these four one at least sees 55 % to 60 %.
VIEWS = ((1.6, 256), (2.0, 256), (3.0, 384), (4.0, 448))
PALM = 0.5  # confidence of the palm detector
PRESENCE = 0.8  # of the points: at 0.5, the default, cheeks of three faces in 360 were hands; at 0.8 none
MOST = 4
FINGER = 0.06  # half a finger's thickness in heights of a face: the points lie in the fingers' middle


class Hands:
    """Palm detector and hand landmarks, the full size. Not for several threads at once: the graph keeps state."""

    name = "MediaPipe hands"
    licence = "Apache-2.0 (MediaPipe, with its models)"
    reason = "hand"

    def __init__(self) -> None:
        """UserError: MediaPipe cannot be used."""
        solutions = load().solutions
        with quiet():
            self._hands = solutions.hands.Hands(
                static_image_mode=True,
                max_num_hands=MOST,
                model_complexity=1,
                min_detection_confidence=PALM,
                min_tracking_confidence=PRESENCE,  # also what the points of a still picture must reach
            )
            self._hands.process(np.zeros((256, 256, 3), np.uint8))  # the first picture brings the graph's remarks

    def share(self, candidate: Candidate, masks: Masks) -> float:
        """Of the face that lies under hands."""
        hidden = self.mask(candidate.picture.pixels, candidate.face)
        return float((hidden & masks.face).sum() / max(1, masks.face.sum()))

    def mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        """(h, w) bool: the hands near a face of an (h, w, 3) uint8 RGB picture."""
        box = np.array(face.box).reshape(2, 2)
        hidden = np.zeros(picture.shape[:2], np.uint8)
        for enlarged, size in VIEWS:
            for points in self._points(picture, square_about(box, enlarged), size):
                hull = cv2.convexHull(points.astype(np.float32))[:, 0]
                hidden |= polygon_mask(picture.shape, hull).astype(np.uint8)
        if not hidden.any():
            return hidden.astype(bool)
        return cv2.distanceTransform(1 - hidden, cv2.DIST_L2, 5) <= FINGER * float(box[1, 1] - box[0, 1])

    def _points(self, picture: np.ndarray, square: tuple[np.ndarray, float], size: int) -> Iterator[np.ndarray]:
        """(21, 2) points in pixels of the picture of each hand in one square of it."""
        part, matrix = cut(picture, square, size)
        found = self._hands.process(part).multi_hand_landmarks or []
        for hand in found:
            points = np.array([(point.x, point.y) for point in hand.landmark]) * size - 0.5
            yield transform(points, inverse(matrix))

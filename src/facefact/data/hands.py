"""Hands over a face, found by MediaPipe 0.10.14, whose wheel carries the models: palms, then 21 points a hand.

A view costs 9 ms of a CPU core, all four 40, so they are looked at where there is a doubt. What tells of one was
measured on 350 press photos and on 317 with a hand of another press photo laid over a tenth of the face or more, all of
which four views reject. MediaPipe's own sureness of the face does (area under the ROC curve 0.91), the colour of skin
beside the face does not (0.63: necks and bald heads have it, and hands before the chin add little). So:

    the face is surely whole (SURE and more)            no view             a fifth of the photos
    no palm in the first view, and the face is clear    that one view       about half
    a palm, or a face that is not clear (UNCLEAR)       all four views      the rest

Of these photos every one is decided as with four views always; of the laid-over hands 305 of 317 (0.96) are rejected.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from facefact.data.clock import Clock
from facefact.data.records import Candidate, Masks
from facefact.faces.align import inverse, transform
from facefact.faces.mask import polygon_mask
from facefact.faces.mediapipe import load, quiet
from facefact.faces.square import cut, square_about
from facefact.types import Face

# Squares about the face: side in units of the box's longer side, and pixels of the view. One view sees 30 % to 45 % of
# the hands that lie over a face, and each view sees others; of these four one at least sees 55 % to 60 %. The first one
# tells whether the others are worth their time.
VIEWS = ((2.0, 256), (1.6, 256), (3.0, 384), (4.0, 448))
SURE, UNCLEAR = 0.95, 0.90  # scores of MediaPipe's face detector
GRAPH = "mediapipe/modules/hand_landmark/hand_landmark_tracking_cpu.binarypb"
PALM = 0.5  # confidence of the palm detector
PRESENCE = 0.8  # of the points: at 0.5, the default, cheeks of three faces in 360 were hands; at 0.8 none
MOST = 4
FINGER = 0.06  # half a finger's thickness in heights of a face: the points lie in the fingers' middle


class Hands:
    """Palm detector and hand landmarks, the full size. Not for several threads at once: the graph keeps state."""

    name = "MediaPipe hands"
    licence = "Apache-2.0 (MediaPipe, with its models)"
    reason = "hand"

    def __init__(self, *, always: bool = False, clock: Clock | None = None) -> None:
        """always: in all views, in doubt or not. clock: told of the views. UserError: MediaPipe cannot be used."""
        load()
        from mediapipe.python.solution_base import SolutionBase

        self._always, self._clock = always, clock or Clock()
        with quiet():
            # As `solutions.hands.Hands` of still pictures, which keeps to itself what palms there are.
            self._graph = SolutionBase(
                binary_graph_path=GRAPH,
                side_inputs={"model_complexity": 1, "num_hands": MOST, "use_prev_landmarks": False},
                calculator_params={
                    "palmdetectioncpu__TensorsToDetectionsCalculator.min_score_thresh": PALM,
                    "handlandmarkcpu__ThresholdingCalculator.threshold": PRESENCE,
                },
                outputs=["palm_detections", "multi_hand_landmarks"],
            )
            self._look(np.zeros((256, 256, 3), np.uint8))  # the first picture brings the graph's remarks

    def share(self, candidate: Candidate, masks: Masks) -> float:
        """Of the face that lies under hands."""
        hidden = self.mask(candidate.picture.pixels, candidate.face)
        return float((hidden & masks.face).sum() / max(1, masks.face.sum()))

    def mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        """(h, w) bool: the hands near a face of an (h, w, 3) uint8 RGB picture.

        Other detectors' scores tell nothing of hands: with them all views are looked at.
        """
        always = self._always or face.backend != "mediapipe" or face.score < UNCLEAR
        hidden = np.zeros(picture.shape[:2], np.uint8)
        if not always and face.score >= SURE:
            return hidden.astype(bool)
        box = np.array(face.box).reshape(2, 2)
        with self._clock.part(f"cover: {self.name}, first view"):
            palms = self._add(hidden, picture, box, *VIEWS[0])
        if always or palms:
            with self._clock.part(f"cover: {self.name}, other views"):
                for view in VIEWS[1:]:
                    self._add(hidden, picture, box, *view)
        if not hidden.any():
            return hidden.astype(bool)
        return cv2.distanceTransform(1 - hidden, cv2.DIST_L2, 5) <= FINGER * float(box[1, 1] - box[0, 1])

    def _add(self, hidden: np.ndarray, picture: np.ndarray, box: np.ndarray, enlarged: float, size: int) -> int:
        """The hands in one square about a (2, 2) box are drawn into `hidden`, (h, w) uint8; how many palms were there:
        not every palm is a hand."""
        part, matrix = cut(picture, square_about(box, enlarged), size)
        palms, hands = self._look(part)
        for hand in hands:
            hull = cv2.convexHull(transform(hand * size - 0.5, inverse(matrix)).astype(np.float32))[:, 0]
            hidden |= polygon_mask(picture.shape, hull).astype(np.uint8)
        return palms

    def _look(self, view: np.ndarray) -> tuple[int, list[np.ndarray]]:
        """A square view -> palms, and (21, 2) points of each hand as shares of its sides."""
        found: Any = self._graph.process({"image": view})
        hands = [np.array([(point.x, point.y) for point in hand.landmark]) for hand in found.multi_hand_landmarks or []]
        return len(found.palm_detections or []), hands

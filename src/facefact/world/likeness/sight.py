"""What is looked at in a photo: the head, upright and of one size, with all that the detector knows of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facefact.faces import Detector, alignment
from facefact.faces.align import transform
from facefact.faces.mask import head_ellipse, polygon_mask
from facefact.faces.mediapipe import MediaPipeDetector
from facefact.types import Face

SCALE, MARGIN = 1.5, 48.0  # view pixels per template pixel, and template pixels around the 112 px template
SIDE = int(SCALE * (112 + 2 * MARGIN))  # pixels of the view, 312: a head with hair and the shoulders' beginning
SURE = 0.6  # of a pixel that it shows the person
# Points of MediaPipe's mesh. Two noisy looks are better than one: the view and its mirror picture. PAIRS: the points
# that a mirror exchanges, the one at the picture's left first, of all that is measured; MIDDLE: those that it keeps.
PAIRS = np.array(
    # the eyes' corners and lids, the face's contour, nose, mouth
    [(33, 263), (133, 362), (159, 386), (145, 374), (234, 454), (172, 397), (136, 365), (150, 379), (149, 378)]
    + [(148, 377), (176, 400), (58, 288), (132, 361), (93, 323), (127, 356), (162, 389), (21, 251), (54, 284)]
    + [(103, 332), (67, 297), (109, 338), (61, 291), (129, 358)]
    # the brows' upper and lower edges, from the temple inwards
    + [(70, 300), (63, 293), (105, 334), (66, 296), (107, 336), (46, 276), (53, 283), (52, 282), (65, 295), (55, 285)]
)
RIGID = PAIRS[:21]  # those whose distance tells which way the head's side points
MIDDLE = np.array([10, 152, 2, 168, 0, 13, 14, 17])
OVAL = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377] + [
    152,
    148,
    176,
    149,
    150,
    136,
    172,
    58,
    132,
    93,
    234,
    127,
    162,
    21,
    54,
    103,
    67,
    109,
]  # along the face's outline


@dataclass(frozen=True)
class Sight:
    """One face of one photo, upright.

    view: (SIDE, SIDE, 3) uint8 RGB. five: (5, 2) its five landmarks there. box: width and height of the detector's box
    in view pixels. mesh: (478, 3) MediaPipe's points there, None without MediaPipe. person: (SIDE, SIDE) bool, head
    with hair and shoulders as segmented, or an ellipse about the head. face: (SIDE, SIDE) bool, the outline's inside.
    """

    view: np.ndarray
    five: np.ndarray
    box: tuple[float, float]
    mesh: np.ndarray | None
    person: np.ndarray
    face: np.ndarray


def look_at(picture: np.ndarray, face: Face, detector: Detector) -> Sight:
    """One face of an (h, w, 3) uint8 RGB picture. detector: who found it; with MediaPipe its mesh is looked at."""
    matrix = SCALE * (alignment(face.landmarks) + np.array([[0, 0, MARGIN], [0, 0, MARGIN]]))
    view = cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    five = transform(face.landmarks, matrix)
    enlarged = float(np.sqrt(np.linalg.det(matrix[:, :2])))
    box = ((face.box[2] - face.box[0]) * enlarged, (face.box[3] - face.box[1]) * enlarged)
    photo = getattr(detector, "photo", detector)
    if isinstance(photo, MediaPipeDetector) and face.backend == photo.name and (mesh := _mesh(view, photo)) is not None:
        outline = polygon_mask(view.shape, mesh[OVAL, :2])
        return Sight(view, five, box, mesh, photo.person(view) > SURE, outline)
    head = head_ellipse(view.shape, five)
    return Sight(view, five, box, None, head, head)


def _mesh(view: np.ndarray, detector: MediaPipeDetector) -> np.ndarray | None:
    """(478, 3) points of the view; of those in PAIRS and MIDDLE the mean of what is seen in it and in its mirror
    picture. None where nothing is seen."""
    points = detector.mesh(view)
    mirrored = detector.mesh(np.ascontiguousarray(view[:, ::-1]))
    if points is None or mirrored is None:
        return points
    mirrored = mirrored * [-1, 1, 1] + [view.shape[1] - 1, 0, 0]
    left, right = PAIRS.T
    mean = points.copy()
    for to, source in ((left, right), (right, left), (MIDDLE, MIDDLE)):
        mean[to] = (points[to] + mirrored[source]) / 2
    return mean

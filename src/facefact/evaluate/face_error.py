"""How far a picture's face is from the true one: the render of that person in the look that was asked for.

What no word says (the light's gradient, the last degrees of the pose) is the picture's own choice: the nearest of
several true renders counts. Position, size and tilt are taken out by the alignment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from facefact.evaluate.judges import Judges
from facefact.evaluate.protocol import Case
from facefact.faces import TEMPLATE, align
from facefact.world import Look, Person, Rendering, render

YAWS = {"left": (-28.0, -23.0, -18.0), "front": (-4.0, 0.0, 4.0), "right": (18.0, 23.0, 28.0)}  # degrees, as drawn
MOST = 128.0  # of 255: the error where no face is found


def true_looks(wanted: Look) -> list[Look]:
    """The looks that the words of `wanted` allow, for the pose in steps of a few degrees."""
    return [replace(wanted, yaw=yaw, roll=0.0) for yaw in YAWS[wanted["pose"]]]


def inner_face() -> np.ndarray:
    """(112, 112) bool: brows to chin of an aligned face, without most of hair, hat and what is behind."""
    plane = np.zeros((112, 112), np.uint8)
    middle = TEMPLATE.mean(0)
    cv2.ellipse(plane, (round(middle[0]), round(middle[1])), (34, 38), 0, 0, 360, 1, -1)
    return plane.astype(bool)


INSIDE = inner_face()


def aligned(one: Rendering) -> np.ndarray:
    """(112, 112, 3) float: the render's face by its true landmarks."""
    return align(one.image, one.landmarks)[0].astype(np.float64)


def distance(face: np.ndarray, truths: Sequence[np.ndarray]) -> float:
    """Mean absolute difference (0..255) inside the face to the nearest truth; each (112, 112, 3)."""
    return float(min(np.abs(face - truth)[INSIDE].mean() for truth in truths))


def truths(who: Person, wanted: Look) -> list[np.ndarray]:
    return [aligned(render(who, one)) for one in true_looks(wanted)]


def face_errors(pictures: np.ndarray, cases: Sequence[Case], people: Sequence[Person], judges: Judges) -> np.ndarray:
    """(n,) of (n, h, w, 3) uint8 pictures: each one's distance to its person's true face."""
    return np.array(
        [
            _error(picture, truths(people[case.own], case.wanted), judges)
            for picture, case in zip(pictures, cases, strict=True)
        ]
    )


def _error(picture: np.ndarray, true: Sequence[np.ndarray], judges: Judges) -> float:
    found = judges.detector.detect(picture)[:1]
    return min(MOST, distance(align(picture, found[0].landmarks)[0].astype(np.float64), true)) if found else MOST


def other_errors(cases: Sequence[Case], people: Sequence[Person]) -> np.ndarray:
    """(n,): the distance of the next person's true face in the same look."""
    return np.array(
        [
            distance(
                aligned(render(people[(case.own + 1) % len(people)], case.wanted)),
                truths(people[case.own], case.wanted),
            )
            for case in cases
        ]
    )

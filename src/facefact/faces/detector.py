"""What every face detector offers, and the two things that all of them do with what they found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from facefact.types import Face

OVERLAP = 0.4  # two boxes that share more than this (intersection over union) are one face


class Detector(Protocol):
    """name: as in `get_detector`. licence: one line on the licence of its weights."""

    name: str

    @property
    def licence(self) -> str: ...

    def detect(self, picture: np.ndarray) -> list[Face]:
        """The faces of an (h, w, 3) uint8 RGB picture, largest box first."""
        ...

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        """(h, w) bool: the head with hair of one face that `detect` found in this picture."""
        ...


def largest_first(faces: Iterable[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: face.area, reverse=True)


def overlap(one: Face, other: Face) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    height = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / max(one.area + other.area - shared, 1e-9)


def overlapping_removed(faces: Iterable[Face]) -> list[Face]:
    """Non-maximum suppression: of faces that overlap by more than OVERLAP, the one with the highest score."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: face.score, reverse=True):
        if all(overlap(face, other) <= OVERLAP for other in kept):
            kept.append(face)
    return kept

"""What the tests of inpainting share: faces in noise, and a detector that sees what it is told."""

from __future__ import annotations

import numpy as np

from facefact.faces import face_from_landmarks
from facefact.types import Face

POINTS = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)


def face_at(x: float, y: float, *, scale: float = 1.0, turn: float = 0.0) -> Face:
    """A frontal face whose 112 px crop lies at x, y, turned clockwise by so many degrees about its middle."""
    angle = np.radians(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = POINTS.mean(0)
    return face_from_landmarks(((POINTS - middle) @ rotation.T + middle) * scale + (x, y))


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


class FixedDetector:
    """Finds the faces that it was made with, in any picture; the head is an ellipse about the landmarks."""

    name, licence = "fixed", ""

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)

    def detect(self, picture: np.ndarray) -> list[Face]:
        return self.faces

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        from facefact.faces.mask import head_ellipse

        return head_ellipse(picture.shape, face.landmarks)

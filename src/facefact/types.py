"""The records that travel between the stages: photo -> Face -> FaceCrop -> FaceTokens -> Portrait.

All coordinates are pixels of the picture as it is meant to be seen (EXIF orientation applied), x to the right, y down,
pixel centres at integers, as OpenCV counts them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image


class UserError(ValueError):
    """The user's input cannot be used. The message is one line: what is wrong and how to mend it (exit code 2)."""


@dataclass(frozen=True)
class Pose:
    """Where a head looks, in degrees; 0, 0, 0 is frontal.

    yaw > 0: towards the picture's right edge; pitch > 0: up; roll > 0: clockwise as seen.
    """

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class Face:
    """One face in one picture.

    box: x0, y0, x1, y1. landmarks: (5, 2) float32: the eye at the picture's left, the eye at its right, nose tip, mouth
    corner at the left, mouth corner at the right. score: the detector's confidence in [0, 1]. oval: (n, 2) float32
    outline of the face from a backend that knows it, else None. pose: estimated from the landmarks, or the backend's.
    mesh: (478, 2) float32, MediaPipe's points of the whole face, from that backend alone.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float
    pose: Pose
    oval: np.ndarray | None = None
    backend: str = ""
    mesh: np.ndarray | None = None

    @property
    def longer_side(self) -> float:
        """Of the box, in pixels."""
        x0, y0, x1, y1 = self.box
        return max(x1 - x0, y1 - y0)

    @property
    def area(self) -> float:
        x0, y0, x1, y1 = self.box
        return max(0.0, x1 - x0) * max(0.0, y1 - y0)


@dataclass(frozen=True)
class FaceCrop:
    """A face as the encoder wants it (docs/method.md, "Face condition").

    pixels: (112, 112, 3) uint8 RGB, aligned to the ArcFace template, everything outside the head set to 0.
    matrix: (2, 3) float, picture -> crop. head: (height, width) bool, the head in the picture.
    """

    pixels: np.ndarray
    matrix: np.ndarray
    head: np.ndarray
    face: Face


@dataclass(frozen=True)
class FaceTokens:
    """One person, as the adapter sees them: the resampler's output for n pictures and for all-zero encoder tokens.

    face, null: (1, 16 * n, width) float.
    """

    face: torch.Tensor
    null: torch.Tensor

    def to(self, *args: Any, **kwargs: Any) -> FaceTokens:
        """As `torch.Tensor.to`, on both tensors."""
        return FaceTokens(self.face.to(*args, **kwargs), self.null.to(*args, **kwargs))


@dataclass(frozen=True)
class Portrait:
    """A generated picture and the recipe that makes it again (prompt, seed, steps, scale, model hashes, ...)."""

    image: Image.Image
    recipe: dict[str, Any] = field(default_factory=dict)

"""The records that travel between the stages: photo -> Face -> FaceCrop -> FaceTokens -> Portrait.

All coordinates are pixels of the picture as it is meant to be seen (EXIF orientation applied), x to the right, y down,
pixel centres at integers, as OpenCV counts them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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

    @staticmethod
    def joined(several: Sequence[FaceTokens]) -> FaceTokens:
        """More pictures of the same person: the tokens of all, one after the other, each (1, sum of 16 * n, width)."""
        import torch

        return FaceTokens(*(torch.cat([getattr(one, name) for one in several], 1) for name in ("face", "null")))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file of some kilobytes, for its owner alone (mode 0600), under a temporary name first.

        Whoever has it has what a machine needs to know the person again. It does not say which encoder it was made
        with: a card does (`facefact.encoder.card`). UserError: the disk does not take it.
        """
        from facefact import files

        try:
            files.write_tensors(os.fspath(path), self.as_tensors(), {"format": "facefact.FaceTokens"})
        except OSError as error:
            raise UserError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
        except ValueError as error:
            raise UserError(f"cannot write {os.fspath(path)}: {error}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FaceTokens:
        """What `save` wrote, or the tokens of an identity card, on the CPU, in the type that they were saved in.

        The file may come from anybody: its sizes are checked first. UserError: what is wrong with it.
        """
        from facefact import files

        try:
            return cls.from_tensors(files.read_tensors(path)[0])
        except ValueError as error:
            raise UserError(f"{os.fspath(path)}: {error}") from None

    def as_tensors(self) -> dict[str, torch.Tensor]:
        """face, and of null, which says the same for each picture, its shortest part that repeats."""
        import torch

        count = self.null.shape[1]
        for part in (n for n in range(1, count + 1) if count % n == 0):
            if torch.equal(self.null, self.null[:, :part].repeat(1, count // part, 1)):
                break
        return {"face": self.face, "null": self.null[:, :part]}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> FaceTokens:
        """Undoes `as_tensors`. ValueError: these are no tokens."""
        import torch

        face, null = tensors.get("face"), tensors.get("null")
        if face is None or null is None:
            raise ValueError("holds no face tokens")
        kinds = (torch.float32, torch.float16, torch.bfloat16)
        if face.dtype not in kinds or null.dtype != face.dtype or not face.ndim == null.ndim == 3:
            raise ValueError("its face tokens are none")
        rows, count, width = face.shape
        part = null.shape[1]
        fits = null.shape[2] == width and null.shape[0] in (1, rows) and part and count % part == 0
        if not (face.numel() and fits):
            raise ValueError(f"its tokens do not fit each other: {tuple(face.shape)} and {tuple(null.shape)}")
        if not (face.isfinite().all() and null.isfinite().all()):
            raise ValueError("its face tokens are no numbers")
        return cls(face, null.repeat(1, count // part, 1))


@dataclass(frozen=True)
class Portrait:
    """A generated picture and the recipe that makes it again (prompt, seed, steps, scale, model hashes, ...)."""

    image: Image.Image
    recipe: dict[str, Any] = field(default_factory=dict)

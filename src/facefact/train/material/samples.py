"""The records between a source of pictures and the cache of everything frozen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np


@dataclass(frozen=True)
class Phrase:
    """A part of a caption. optional: training may leave it out (short prompts are prompts too)."""

    text: str
    optional: bool = True


@dataclass(frozen=True)
class Sample:
    """One picture to learn from, before anything frozen has looked at it.

    image: (h, w, 3) uint8 RGB, square but where the source has buckets. face: (h, w) float32 in [0, 1], the face's
    region. landmarks: (5, 2) float32 in pixels of `image`, as in `Face`. head: (112, 112, 3) uint8, the aligned, masked
    face condition. person: who, any name that is the person's own in this source. yaw: degrees. light: mean brightness
    of the face in [0, 1]. face_size: the face's share of the picture. original, crop: height and width of the picture
    before scaling, and top and left of what was cut from it, in pixels after scaling (SDXL reads both, and was trained
    so).
    """

    image: np.ndarray
    face: np.ndarray
    landmarks: np.ndarray
    head: np.ndarray
    phrases: tuple[Phrase, ...]
    person: str
    yaw: float
    light: float
    face_size: float
    original: tuple[int, int]
    crop: tuple[int, int] = (0, 0)

    @property
    def caption(self) -> str:
        return ", ".join(phrase.text for phrase in self.phrases)


class Source(Protocol):
    """Where samples come from. Keys are content: the same key is the same sample, whatever the run or machine."""

    def keys(self) -> Sequence[str]:
        """One per sample, in a fixed order. Cheap: no picture is decoded or drawn."""
        ...

    def sample(self, index: int, size: int) -> Sample | None:
        """None: not usable (no face found, broken file); it is left out, and counted. size: pixels of a side."""
        ...

    def why_not(self, index: int) -> tuple[str, str]:
        """Of one that `sample` left out: which picture it is (a name for people), and why."""
        ...

    def about(self) -> Mapping[str, object]:
        """What decides the samples besides their keys, as JSON values: part of the cache's key."""
        ...


def content_key(*parts: object) -> str:
    """A sample's key, of all that decides it: 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


def view_key(key: str, view: int) -> str:
    """The key of a picture's view: the first one is the picture as it is, and has its key."""
    return f"{key}.{view}" if view else key


def picture_key(key: str) -> str:
    """Of which picture a sample is a view."""
    return key.partition(".")[0]


def brightness(image: np.ndarray, face: np.ndarray) -> float:
    """Mean luminance in [0, 1] of an (h, w, 3) uint8 picture inside a mask; 0 where the mask is empty."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return float(np.average(grey, weights=face) / 255) if face.any() else 0.0

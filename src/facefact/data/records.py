"""The records between the stages of the preparation: Entry -> Decoded -> Candidate -> CheckedSample, or a Rejection.

Coordinates are pixels of the decoded picture (upright, shrunk to the settings' longest side), as in `facefact.types`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facefact.types import Face


@dataclass(frozen=True)
class Place:
    """Where the bytes of one input picture are. A file: only `path`. A member of a tar: `offset` and `size` of its data
    in the uncompressed tar at `path` (no size: the tar is damaged there). A cell of a Parquet file: `row` in it, and
    `column`, "image" or "image.bytes" (no row and no column's name: the file is damaged, or holds no pictures)."""

    path: Path
    offset: int | None = None
    size: int | None = None
    row: int | None = None
    column: str | None = None


@dataclass(frozen=True)
class Entry:
    """One input picture before anybody has opened it.

    name: how a person finds it again (its path inside the input, the tar and its member, the Parquet file and its row);
    unique in the input, printable, valid UTF-8. person, caption, source (a page or address), licence: as the input says
    them, None where it does not.
    """

    name: str
    place: Place
    person: str | None = None
    caption: str | None = None
    source: str | None = None
    licence: str | None = None


class Unfit(Exception):
    """Raised by a stage: this picture is not for training. stage: the stage's name. reason: one of a few fixed words,
    for counting. detail: what was measured and which limit it broke, for people, in one line."""

    def __init__(self, stage: str, reason: str, detail: str = "", *, face: Face | None = None) -> None:
        super().__init__(stage, reason, detail)  # (what it is unpickled with)
        self.stage, self.reason, self.detail, self.face = stage, reason, detail, face

    def __str__(self) -> str:
        return f"{self.stage}: {self.reason} ({self.detail})" if self.detail else f"{self.stage}: {self.reason}"


@dataclass(frozen=True)
class Rejection:
    """A row of `rejected.parquet`. box, landmarks: of the face that was found before it was rejected, for drawing."""

    name: str
    stage: str
    reason: str
    detail: str = ""
    person: str | None = None
    sha256: str | None = None
    box: tuple[float, ...] | None = None
    landmarks: tuple[float, ...] | None = None  # x, y of five points


@dataclass(frozen=True)
class Decoded:
    """pixels: (h, w, 3) uint8 RGB, upright. sha256: of the file's bytes, 64 hexadecimal digits. perceptual_hash: 64
    bit, near for pictures that look alike (`duplicates.perceptual_hash`). original: height and width before shrinking,
    upright."""

    entry: Entry
    pixels: np.ndarray
    sha256: str
    perceptual_hash: int
    original: tuple[int, int]


@dataclass(frozen=True)
class Candidate:
    """One face of one picture. number: 0 for the largest face of the picture. found: how many faces it has."""

    picture: Decoded
    face: Face
    number: int = 0
    found: int = 1


@dataclass(frozen=True)
class Masks:
    """face: (h, w) bool without hair. head: (h, w) bool with hair, dilated as published. crop: (112, 112, 3) uint8, the
    aligned face condition, black outside the head."""

    face: np.ndarray
    head: np.ndarray
    crop: np.ndarray


@dataclass(frozen=True)
class Row:
    """What `index.parquet` says of one sample, but for what the whole set decides (person, split, shard).

    sample: unique name in the dataset. box: x0, y0, x1, y1. landmarks: x, y of five points, in the order of
    `facefact.types.Face`. yaw, pitch, roll: degrees. face_size: square root of the box's area in pixels. face_share:
    share of the picture that is face. sharpness: RMS of the Laplacian. brightness, clipped: of the face, both in [0,
    1]. quality: in [0, 1]. covered: share of the face that something hides, in [0, 1]. caption_by: "input", "words" or
    the captioning model's name.
    """

    sample: str
    name: str
    sha256: str
    width: int
    height: int
    original_width: int
    original_height: int
    faces: int
    box: tuple[float, ...]
    landmarks: tuple[float, ...]
    score: float
    detector: str
    yaw: float
    pitch: float
    roll: float
    face_size: float
    face_share: float
    sharpness: float
    brightness: float
    clipped: float
    quality: float
    covered: float
    caption: str
    caption_by: str
    source: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class CheckedSample:
    """A sample as one worker leaves it. files: suffix -> bytes ("jpg", "face.png", "head.png", "crop.png"). person: as
    the input says. perceptual_hash: see Decoded. embedding: (d,) float32 of unit length, None without a recogniser."""

    row: Row
    files: dict[str, bytes]
    person: str | None
    perceptual_hash: int
    embedding: np.ndarray | None = None


@dataclass(frozen=True)
class Brief:
    """What the decisions on the whole set need of a sample: all of it fits into memory (under 1 kB a picture). name: of
    the entry; the faces of one picture share it, and are no duplicates of each other."""

    sample: str
    person: str | None
    sha256: str
    perceptual_hash: int
    quality: float
    embedding: np.ndarray | None = field(default=None, compare=False)
    name: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the whole set decides. unfit: sample -> why it is left out (stage "duplicates" or "person"). person: sample
    -> whose it is, of all that stay. split: person -> "train" or "validation". outliers: samples that stay though they
    look unlike the rest of their person (settings people.outliers=keep)."""

    unfit: dict[str, Unfit]
    person: dict[str, str]
    split: dict[str, str]
    outliers: frozenset[str] = frozenset()

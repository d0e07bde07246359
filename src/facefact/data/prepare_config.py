"""The settings of `facefact prepare`: a group for each stage, each threshold with its reason. Defaults are measured on
press photos (docs/preparation.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class DecodeSettings:
    """max_bytes, max_pixels: of a file, before it is decoded. min_side: the shorter side in pixels. max_side: the
    longer side; larger pictures are shrunk to it. animated: whether the first frame of an animation is taken."""

    max_bytes: int = 100_000_000
    max_pixels: int = 120_000_000
    min_side: int = 128
    max_side: int = 2048
    animated: Literal["first", "reject"] = "first"


@dataclass(frozen=True)
class DuplicateSettings:
    """distance: bits (of 64) by which the fingerprints of two pictures that look alike may differ; None keeps all but
    files of the same bytes. Of duplicates the one of the best quality stays."""

    distance: int | None = 4


@dataclass(frozen=True)
class FaceSettings:
    """detector: as `facefact faces --detector`; model: YuNet's file. several: what of a picture with several faces:
    "dominant" (the largest, if the next has less than `second` of its area), "largest", or "each" (a sample a face, of
    nobody known: people are found by clustering). min_score: of the detector. min_size: square root of the box's area in
    pixels. max_yaw, max_pitch, max_roll: degrees."""

    detector: str = "auto"
    model: str | None = None
    several: Literal["dominant", "largest", "each"] = "dominant"
    second: float = 0.4
    min_score: float = 0.5
    min_size: float = 48.0
    max_yaw: float = 60.0
    max_pitch: float = 45.0
    max_roll: float = 60.0


@dataclass(frozen=True)
class QualitySettings:
    """min_sharpness: RMS of the Laplacian in grey levels. dark, bright: mean grey level of the face between which it is
    kept, in 0..255. max_clipped: share of black and white pixels. min_quality: of the product of all (`face_quality`)."""

    min_sharpness: float = 3.0
    dark: float = 30.0
    bright: float = 230.0
    max_clipped: float = 0.3
    min_quality: float = 0.05


@dataclass(frozen=True)
class CoverSettings:
    """hands: whether hands over the face are looked for (needs MediaPipe; "auto": where it is installed). max_covered:
    share of the face that hands or objects may hide. parsing: a face-parsing model (SegFormer) of transformers, by
    directory or hub id, which sees objects too; None for none."""

    hands: Literal["auto", "on", "off"] = "auto"
    max_covered: float = 0.1
    parsing: str | None = None


@dataclass(frozen=True)
class PeopleSettings:
    """recogniser: who compares faces: "auto" (the first that is installed), "dlib", "insightface", a TransFace directory,
    or "none". outlier: distance to the rest of its person beyond which a picture is an outlier; None for the
    recogniser's own. outliers: reject, or keep them in the index with their flag. cluster: distance under which
    unlabelled pictures are one person; None for the recogniser's own. min_pictures: people with fewer are left out.
    validation: share of the people that is kept out of training; seed: which."""

    recogniser: str = "auto"
    outlier: float | None = None
    outliers: Literal["reject", "keep"] = "reject"
    cluster: float | None = None
    min_pictures: int = 1
    validation: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class CaptionSettings:
    """model: a vision-language model of transformers (BLIP, Florence-2) by directory or hub id; None: what was measured,
    in words. keep: whether a caption of the input stays. prompt, max_new_tokens: for the model. batch: pictures at once."""

    model: str | None = None
    keep: bool = True
    prompt: str | None = None
    max_new_tokens: int = 48
    batch: int = 8


@dataclass(frozen=True)
class WriteSettings:
    """shard: samples in a tar. quality: of the JPEG."""

    shard: int = 1000
    quality: int = 95


@dataclass(frozen=True)
class PrepareConfig:
    """chunk: pictures that a worker takes at once; what is lost when one is killed. licence: of pictures that bring none.
    layout: how the input is read ("auto" looks)."""

    layout: Literal["auto", "people", "flat", "metadata", "parquet", "webdataset"] = "auto"
    licence: str | None = None
    chunk: int = 32
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    duplicates: DuplicateSettings = field(default_factory=DuplicateSettings)
    face: FaceSettings = field(default_factory=FaceSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)
    cover: CoverSettings = field(default_factory=CoverSettings)
    people: PeopleSettings = field(default_factory=PeopleSettings)
    caption: CaptionSettings = field(default_factory=CaptionSettings)
    write: WriteSettings = field(default_factory=WriteSettings)

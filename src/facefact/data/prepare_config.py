"""The settings of `facefact prepare`: a group for each stage, each threshold with its reason. Defaults are measured on
press photos (docs/evidence/preparation.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from facefact.types import UserError


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
    """distance: bits (of 64) by which the perceptual hashes of two pictures that look alike may differ; None keeps all
    but files of the same bytes. Of duplicates the one of the best quality stays."""

    distance: int | None = 4


@dataclass(frozen=True)
class FaceSettings:
    """detector: as `facefact faces --detector`; model: YuNet's file. several: what of a picture with several faces:
    "dominant" (the largest, if the next has less than `second` of its area), "largest", or "each" (a sample a face, of
    nobody known: people are found by clustering). min_score: of the detector. min_size: square root of the box's area
    in pixels. max_yaw, max_pitch, max_roll: degrees.

    Half the area is 0.7 of the side: a second face of that size is as much the subject as the first, and in every LFW
    picture whose largest face was the wrong one the next had 0.7 of its area. Scores below 0.6 were mostly backs of
    heads and halves of faces. A face of 48 px is still told from others as well as a large one; at 32 that
    begins to fail. Beyond 60 degrees of yaw one eye is hidden and the alignment shears; guessed pitch is biased by
    smiles (to -37)."""

    detector: str = "auto"
    model: str | None = None
    several: Literal["dominant", "largest", "each"] = "dominant"
    second: float = 0.5
    min_score: float = 0.6
    min_size: float = 48.0
    max_yaw: float = 60.0
    max_pitch: float = 45.0
    max_roll: float = 60.0


@dataclass(frozen=True)
class QualitySettings:
    """min_sharpness: RMS of the Laplacian in grey levels. dark, bright: mean grey level of the face between which it is
    kept, in 0..255; below `dark` it is kept too where highlights say that the skin is dark and not the picture
    (`Quality.well_lit`). max_clipped: share of black and white pixels. min_quality: of the product of all
    (`face_quality`).

    The worst of 360 press photos have sharpness 5.5, levels 74 and 199, 0.12 clipped, quality 0.56. Blur of 3 pixels on
    a face of 100 takes sharpness below 4 and makes a recogniser's distances grow by a fifth; at level 40 a picture
    looks black; above 220 a fifth of the face is white. min_quality is for what is mediocre in everything at once."""

    min_sharpness: float = 4.0
    dark: float = 40.0
    bright: float = 220.0
    max_clipped: float = 0.2
    min_quality: float = 0.2


@dataclass(frozen=True)
class CoverSettings:
    """max_covered: share of the face that hands or objects may hide. hands: whether hands over the face are looked for
    (needs MediaPipe; "auto": where it is installed), as far as a face leaves a doubt; "always": as far as can be, in
    twice the time for all. skin: how far (in CIELAB a, b) the colour of a piece of cheek,
    forehead, nose or chin may be from the rest before it counts as hidden; None does not look. Birthmarks and face
    paint look like objects to it. parsing: a face-parsing model (SegFormer) of transformers, by directory or hub id,
    which sees objects too; None for none."""

    max_covered: float = 0.1
    hands: Literal["auto", "on", "always", "off"] = "auto"
    skin: float | None = 22.0
    parsing: str | None = None


@dataclass(frozen=True)
class PeopleSettings:
    """recogniser: who compares faces: "auto" (the first that is installed), "dlib", "insightface", a TransFace
    directory, or "none". outlier: distance to the rest of its person beyond which a picture is an outlier; None for the
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
    """model: a vision-language model of transformers (BLIP, Florence-2) by directory or hub id; None: what was
    measured, in words. attributes: a zero-shot image classifier of transformers (CLIP, SigLIP), which tells glasses,
    hats and hair for those words; None for none. keep: whether a caption of the input stays. prompt: what the model is
    asked (None: nothing, or what its kind wants to be asked). max_new_tokens: the caption's length. batch: pictures at
    once."""

    model: str | None = None
    attributes: str | None = None
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
    """chunk: pictures that a worker takes at once; what is lost when one is killed. licence: of pictures that bring
    none. layout: how the input is read ("auto" looks)."""

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


# Setting -> the least and the greatest that make sense (None: no greatest); None is allowed where the type allows it.
LIMITS: dict[str, tuple[float, float | None]] = {
    "chunk": (1, None),
    "decode.max_bytes": (1, None),
    "decode.max_pixels": (1, None),
    "decode.min_side": (1, None),
    "decode.max_side": (16, None),  # below it no detector finds a face
    "duplicates.distance": (0, 16),  # (`duplicates.MAX_DISTANCE`)
    "face.second": (0, None),
    "face.min_score": (0, 1),
    "cover.max_covered": (0, 1),
    "caption.max_new_tokens": (1, None),
    "caption.batch": (1, None),
    "write.shard": (1, None),
    "write.quality": (1, 100),
}


def check_limits(settings: PrepareConfig) -> None:
    """UserError, before any work, of a number with which nothing can work. (People's are checked by `check_people`.)"""
    for key, (least, most) in LIMITS.items():
        value: Any = settings
        for name in key.split("."):
            value = getattr(value, name)
        if value is not None and (value < least or (most is not None and value > most)):
            span = f"at least {least:g}" if most is None else f"from {least:g} to {most:g}"
            raise UserError(f"setting {key} is {value:g}: {span} is possible")

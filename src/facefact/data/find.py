"""Whose face a picture shows, and whether it is large, turned to the camera, sharp and lit enough to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from facefact.data.duplicates import perceptual_hash
from facefact.data.prepare_config import FaceSettings, QualitySettings
from facefact.data.records import Candidate, Decoded, Unfit
from facefact.faces import Quality, face_quality
from facefact.faces.detector import Detector
from facefact.faces.turned import face_turned, turned, way_up
from facefact.types import Face


def find(picture: Decoded, detector: Detector, settings: FaceSettings) -> list[Candidate]:
    """The faces to take: one, or with several="each" all, largest first, in the picture turned so that they are
    upright. Faces below `min_score` do not count.

    Unfit: "no face"; "unsure" (all are below `min_score`); "several faces" (several="dominant", and the next is not
    smaller enough).
    """
    height, width = picture.pixels.shape[:2]
    seen = [face for face in detector.detect(picture.pixels) if _has_points(face)]
    if not seen:
        raise Unfit("detect", "no face", "the detector sees none")
    sure = [face for face in seen if face.score >= settings.min_score]
    if not sure:
        best = max(seen, key=lambda face: face.score)
        raise Unfit("detect", "unsure", f"score {best.score:.2f}; {settings.min_score:.2f} are needed", face=best)
    faces = sorted(sure, key=lambda face: visible_area(face, height, width), reverse=True)
    picture, faces = upright(picture, faces)
    height, width = picture.pixels.shape[:2]
    if settings.several == "each":
        return [Candidate(picture, face, number, len(faces)) for number, face in enumerate(faces)]
    if settings.several == "dominant":
        _check_dominant(faces, (height, width), settings.second)
    return [Candidate(picture, faces[0], 0, len(faces))]


def upright(picture: Decoded, faces: list[Face]) -> tuple[Decoded, list[Face]]:
    """The picture, turned by quarters so that its first face is upright, and its faces there."""
    turn = way_up(faces[0])
    if turn == 0:
        return picture, faces
    pixels, (height, width) = turned(picture.pixels, turn), picture.original
    original = (width, height) if turn % 2 else (height, width)
    faces = [face_turned(face, picture.pixels.shape, turn) for face in faces]
    return replace(picture, pixels=pixels, original=original, perceptual_hash=perceptual_hash(pixels)), faces


def _has_points(face: Face) -> bool:
    """Whether its landmarks are more than one place: if not, it can be neither aligned nor measured."""
    return bool(np.isfinite(face.landmarks).all()) and bool(np.ptp(face.landmarks, axis=0).max() > 1)


def visible_area(face: Face, height: int, width: int) -> float:
    """Pixels of a face's box that lie inside the picture: a face that its edge cuts is as large as what is seen."""
    x0, y0, x1, y1 = face.box
    return max(0.0, min(x1, width) - max(x0, 0.0)) * max(0.0, min(y1, height) - max(y0, 0.0))


def _check_dominant(faces: Sequence[Face], shape: tuple[int, int], second: float) -> None:
    if len(faces) < 2:
        return
    first, following = (visible_area(face, *shape) for face in faces[:2])
    share = following / max(first, 1e-9)
    if share >= second:
        detail = (
            f"{len(faces)} faces; the second has {share:.0%} of the largest's area, less than {second:.0%} is allowed"
        )
        raise Unfit("detect", "several faces", detail, face=faces[0])


def check_size(candidate: Candidate, settings: FaceSettings) -> None:
    """Unfit: "too small"."""
    size = candidate.face.area**0.5
    if size < settings.min_size:
        detail = f"{size:.0f} px; {settings.min_size:.0f} are needed"
        raise Unfit("size", "too small", detail, face=candidate.face)


def check_pose(candidate: Candidate, settings: FaceSettings) -> None:
    """Unfit: "turned away" (yaw or pitch), "tilted" (roll)."""
    pose = candidate.face.pose
    for reason, name, angle, limit in (
        ("turned away", "yaw", pose.yaw, settings.max_yaw),
        ("turned away", "pitch", pose.pitch, settings.max_pitch),
        ("tilted", "roll", pose.roll, settings.max_roll),
    ):
        if abs(angle) > limit:
            detail = f"{name} {angle:.0f} degrees; up to {limit:.0f} are allowed"
            raise Unfit("pose", reason, detail, face=candidate.face)


@dataclass(frozen=True)
class Limit:
    """One measure against its limit. says: what to tell of it."""

    reason: str
    broken: bool
    says: str


def measure(candidate: Candidate, settings: QualitySettings) -> Quality:
    """The face's quality. Unfit: the first of "dark", "bright", "clipped", "blurred" (light comes first: in the dark
    all contrast is low), or "poor": nothing is bad, but too much is mediocre."""
    quality = face_quality(candidate.picture.pixels, candidate.face)
    for limit in limits(quality, settings):
        if limit.broken:
            raise Unfit("quality", limit.reason, limit.says, face=candidate.face)
    return quality


def limits(quality: Quality, settings: QualitySettings) -> tuple[Limit, ...]:
    light, clipped = quality.brightness, quality.clipped
    sharpness, score = quality.sharpness, quality.score
    most, least = settings.max_clipped, settings.min_sharpness
    return (
        Limit(
            "dark",
            light < settings.dark and not quality.well_lit,
            f"mean grey level {light:.0f}, nothing above {quality.highlight:.0f}; {settings.dark:.0f} are needed",
        ),
        Limit(
            "bright", light > settings.bright, f"mean grey level {light:.0f}; up to {settings.bright:.0f} is allowed"
        ),
        Limit("clipped", clipped > most, f"{clipped:.0%} of it is black or white; up to {most:.0%} is allowed"),
        Limit("blurred", sharpness < least, f"sharpness {sharpness:.1f}; {least:.1f} is needed"),
        Limit("poor", score < settings.min_quality, f"quality {score:.2f}; {settings.min_quality:.2f} is needed"),
    )

"""The masks of a face and its head, and what hides the face: hands, objects."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from facefact.data.clock import Clock
from facefact.data.prepare_config import CoverSettings
from facefact.data.records import Candidate, Masks, Unfit
from facefact.faces import face_crop_from
from facefact.faces import mediapipe as mediapipe_faces
from facefact.faces.detector import Detector
from facefact.faces.mask import face_area, face_mask
from facefact.types import UserError

log = logging.getLogger(__name__)

INSIDE = 0.75  # of the face's outline: what the picture's edge may leave of it
HELD = 0.5  # of the face: where the head's mask holds less, it is not this face's head


class Cover(Protocol):
    """Something that sees what hides a face. name, licence: for the dataset card. reason: "hand" or "object"."""

    name: str
    licence: str
    reason: str

    def share(self, candidate: Candidate, masks: Masks) -> float:
        """The share of the face that is hidden, in [0, 1]."""
        ...


def masks(candidate: Candidate, detector: Detector) -> Masks:
    """Face, head and aligned crop of a candidate. detector: who found the face.

    Unfit: "outside" (the picture's edge cuts the face), "no head" (the head's mask does not hold the face).
    """
    pixels, face = candidate.picture.pixels, candidate.face
    seen = face_mask(pixels.shape, face)
    inside = float(seen.sum()) / max(face_area(face), 1.0)
    if inside < INSIDE:
        detail = f"{inside:.0%} of the face is in the picture; {INSIDE:.0%} are needed"
        raise Unfit("masks", "outside", detail, face=face)
    head = detector.head_mask(pixels, face)
    crop = face_crop_from(pixels, landmarks=face.landmarks, head=head, face=face)
    held = share_of(crop.head, seen)
    if held < HELD:
        raise Unfit("masks", "no head", f"the head's mask holds {held:.0%} of the face", face=face)
    return Masks(face=seen, head=crop.head, crop=crop.pixels)


def share_of(part: np.ndarray, whole: np.ndarray) -> float:
    """The share of one (h, w) bool mask that another holds; 0 of an empty one."""
    return float((part & whole).sum() / max(1, whole.sum()))


def open_covers(settings: CoverSettings, *, offline: bool = False, clock: Clock | None = None) -> list[Cover]:
    """What the settings ask for. offline: a parsing model is not fetched from the hub. clock: told where time goes.

    UserError: hands="on" or "always" without MediaPipe; a parsing model that cannot be had.
    """
    covers: list[Cover] = []
    if (settings.hands == "auto" and mediapipe_faces.available()) or settings.hands in ("on", "always"):
        covers += _open_hands(settings.hands, clock)
    if settings.skin is not None:
        from facefact.data.skin import Skin

        covers.append(Skin(settings.skin))
    if settings.parsing is not None:
        from facefact.data.parsing import Parsing

        covers.append(Parsing(settings.parsing, offline=offline))
    return covers


def _open_hands(wanted: str, clock: Clock | None) -> list[Cover]:
    """Empty, with a warning, where MediaPipe is there but does not work, and nobody insists."""
    from facefact.data.hands import Hands

    try:
        return [Hands(always=wanted == "always", clock=clock)]
    except UserError as error:
        if wanted != "auto":
            raise UserError(f"hands over faces cannot be looked for: {error}") from error
        log.warning("hands over faces are not looked for: %s", error)
        return []


def covered(
    candidate: Candidate,
    masks: Masks,
    covers: Sequence[Cover],
    settings: CoverSettings,
    *,
    clock: Clock | None = None,
) -> float:
    """The share of the face that is hidden, as whoever sees most of it says; 0 when nobody looks.

    Unfit: "hand" or "object", when that is more than `max_covered`.
    """
    most, reason, by = 0.0, "", ""
    clock = clock or Clock()
    for cover in covers:
        with clock.part(f"cover: {cover.name}"):
            share = cover.share(candidate, masks)
        if share > most:
            most, reason, by = share, cover.reason, cover.name
    if most > settings.max_covered:
        detail = f"{most:.0%} of the face is hidden ({by}); up to {settings.max_covered:.0%} is allowed"
        raise Unfit("cover", reason, detail, face=candidate.face)
    return most

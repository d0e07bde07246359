"""Pictures of one avatar as the stages of the preparation get them, and the one detector that needs no extra."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from facefact.data.records import Candidate, Decoded, Entry, Place
from facefact.faces import Detector, get_detector
from facefact.world import look, person, render

CHOICES: dict[str, Any] = {"glasses": "none", "hat": "none", "pose": "front", "hair": "bald"}


@cache
def avatars() -> Detector:
    return get_detector("avatar")


def portrait(who: int = 3, shown: int = 5, size: int = 256, **choices: str) -> np.ndarray:
    """(size, size, 3) uint8: an avatar, frontal and bald, without glasses and hat unless the choices say otherwise."""
    return render(person(who), look(shown, **{**CHOICES, **choices}), size=size).image


def decoded(pixels: np.ndarray, name: str = "a.png") -> Decoded:
    return Decoded(Entry(name, Place(Path(name))), pixels, "0" * 64, 0, (pixels.shape[0], pixels.shape[1]))


def candidate(pixels: np.ndarray, detector: Detector | None = None) -> Candidate:
    """The largest face of a picture."""
    faces = (detector or avatars()).detect(pixels)
    return Candidate(decoded(pixels), faces[0], 0, len(faces))

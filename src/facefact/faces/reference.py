"""What a reference photo will cost: one line for each thing that makes a face a worse guide, though it can be used."""

from __future__ import annotations

import numpy as np

from facefact.faces.quality import DARK, face_quality
from facefact.types import Face

PROFILE = 35.0  # degrees of yaw; from there on most of one half of the face is hidden (MAX_YAW refuses)


def costs(picture: np.ndarray, face: Face) -> list[str]:
    """Of one face of an (h, w, 3) uint8 RGB picture; empty where nothing is to be said."""
    quality = face_quality(picture, face)
    said = []
    if abs(face.pose.yaw) > PROFILE:
        said.append(f"the face is seen from the side (yaw {face.pose.yaw:.0f} degrees): the hidden half is guessed")
    if quality.brightness < DARK:
        said.append(f"the face is dark (mean grey level {quality.brightness:.0f} of 255): likeness suffers")
    return said

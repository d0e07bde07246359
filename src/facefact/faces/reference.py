"""What a reference photo will cost: one line for each thing that makes a face a worse guide, though it can be used."""

from __future__ import annotations

import numpy as np

from facefact.types import Face

LOW_LIGHT = 90.0  # of 255, of what is brightest about the face
PROFILE = 35.0  # degrees of yaw; from there on most of one half of the face is hidden (MAX_YAW refuses)


def costs(picture: np.ndarray, face: Face) -> list[str]:
    """Of one face of an (h, w, 3) uint8 RGB picture; empty where nothing is to be said."""
    said = []
    if abs(face.pose.yaw) > PROFILE:
        said.append(f"the face is seen from the side (yaw {face.pose.yaw:.0f} degrees): the hidden half is guessed")
    if (light := brightest(picture, face)) < LOW_LIGHT:
        said.append(f"the photo is dark (nothing about the face is brighter than {light:.0f} of 255): likeness suffers")
    return said


def brightest(picture: np.ndarray, face: Face) -> float:
    """Grey level (0..255) that 2 % of the face's box exceed: the whites of the eyes, teeth and highlights tell of the
    light whatever the skin. (The mean would call dark skin a dark photo.)"""
    x0, y0, x1, y1 = (round(edge) for edge in face.box)
    inside = picture[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)]
    return float(np.percentile(inside.mean(-1), 98)) if inside.size else 255.0

"""What a reference photo will cost: one line for each thing that makes a face a worse guide, though it can be used."""

from __future__ import annotations

import cv2
import numpy as np

from facefact.faces.align import align
from facefact.types import Face

LOW_LIGHT = 90.0  # of 255, of what is brightest about the face
PROFILE = 35.0  # degrees of yaw; from there on most of one half of the face is hidden (MAX_YAW refuses)

# Places in the 112 px template: top, bottom, left, right. Skin that neither glasses nor a mask hide all of.
EYES = ((45, 61, 29, 48), (45, 61, 65, 84))
SKIN_ABOUT_EYES = ((20, 34, 44, 68), (62, 76, 50, 62), (66, 78, 30, 44), (66, 78, 68, 82))
SKIN_ABOVE_MASK = ((22, 34, 46, 66), (61, 67, 32, 44), (61, 67, 68, 80), (50, 58, 52, 60))
MOUTH_AND_CHIN = (80, 106, 42, 70)
BLUR = 1.5  # pixels; grain and JPEG's blocks
# Dark glasses: a pixel is dark below DARK of the skin's lightness; of both eyes' places DARK_SHARE is, and the lightest
# fifth of neither is lighter than LIGHTEST of the skin. A mask: a fifth at most of mouth and chin is nearer to the
# skin's colour than ANOTHER_COLOUR (CIELAB's a, b), and all is less red than the skin by LESS_RED, as lips are not.
# Chosen on 240 photos (LFW), and the same with glasses and masks painted on: dark glasses are named in 238 of 240 that
# were painted, and in two others (one wears tinted ones); masks in 229 of 240, and in one other, a grey beard. Of
# avatars 39 of 40 in dark sunglasses are named, and none of 120 others. In grey photos no mask is seen.
DARK, DARK_SHARE, LIGHTEST = 0.55, 0.7, 0.65
ANOTHER_COLOUR, LESS_RED = 14.0, 3.0


def costs(picture: np.ndarray, face: Face) -> list[str]:
    """Of one face of an (h, w, 3) uint8 RGB picture; empty where nothing is to be said."""
    said = []
    if abs(face.pose.yaw) > PROFILE:
        said.append(f"the face is seen from the side (yaw {face.pose.yaw:.0f} degrees): the hidden half is guessed")
    if (light := brightest(picture, face)) < LOW_LIGHT:
        said.append(f"the photo is dark (nothing about the face is brighter than {light:.0f} of 255): likeness suffers")
    if abs(face.pose.yaw) > PROFILE:  # the places below are not where they should be
        return said
    aligned, _ = align(picture, face.landmarks)
    if dark_glasses(aligned):
        said.append("the eyes are behind dark glasses: they are guessed")
    if face.backend != "avatar" and covered_mouth(aligned):  # (avatars have no masks, but skin of any colour)
        said.append("mouth and chin are covered, by a mask perhaps: they are guessed")
    return said


def brightest(picture: np.ndarray, face: Face) -> float:
    """Grey level (0..255) that 2 % of the face's box exceed: the whites of the eyes, teeth and highlights tell of the
    light whatever the skin. (The mean would call dark skin a dark photo.)"""
    x0, y0, x1, y1 = (round(edge) for edge in face.box)
    inside = picture[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)]
    return float(np.percentile(inside.mean(-1), 98)) if inside.size else 255.0


def dark_glasses(aligned: np.ndarray) -> bool:
    """Of an aligned face, (112, 112, 3) uint8 RGB: whether both eyes' places are dark, and not the skin."""
    grey = cv2.GaussianBlur(cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), BLUR)
    skin = float(np.median([np.median(_part(grey, place)) for place in SKIN_ABOUT_EYES]))
    eyes = [_part(grey, place) for place in EYES]
    dark = min(float((eye < DARK * skin).mean()) for eye in eyes)
    return dark > DARK_SHARE and all(float(np.quantile(eye, 0.8)) < LIGHTEST * skin for eye in eyes)


def covered_mouth(aligned: np.ndarray) -> bool:
    """Of an aligned face, (112, 112, 3) uint8 RGB: whether mouth and chin have a colour that is not the skin's."""
    smooth = cv2.GaussianBlur(aligned.astype(np.float32) / 255, (0, 0), BLUR)
    colour = cv2.cvtColor(smooth, cv2.COLOR_RGB2Lab)[..., 1:]
    skin = np.median([np.median(_part(colour, place), axis=(0, 1)) for place in SKIN_ABOVE_MASK], axis=0)
    away = _part(colour, MOUTH_AND_CHIN) - skin
    far = float(np.quantile(np.linalg.norm(away, axis=-1), 0.2)) > ANOTHER_COLOUR
    return far and float(np.median(away[..., 0])) < -LESS_RED


def _part(pixels: np.ndarray, place: tuple[int, int, int, int]) -> np.ndarray:
    top, bottom, left, right = place
    return pixels[top:bottom, left:right]

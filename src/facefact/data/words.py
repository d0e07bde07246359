"""A caption without a model: what was measured of a portrait, in words. It says only what can be measured: nothing of
sex, age or looks, and nothing of the light's strength that a dark skin would answer for."""

from __future__ import annotations

import cv2
import numpy as np

from facefact.data.expression import expression
from facefact.data.records import Candidate, Masks
from facefact.faces import Quality
from facefact.faces.align import align, alignment
from facefact.types import Face, Pose

PHOTO, DRAWING = "portrait photo of a person", "portrait of a person"
GREY = 4.0  # mean distance from grey (CIELAB) below which a picture is black and white
FRONTAL, TURNED, FAR = 12.0, 20.0, 40.0  # degrees of yaw, which is good to some ten: between the first two, no word
TILTED = 12.0
FRAMES = ((1.9, "close-up"), (3.6, "head and shoulders"), (6.5, "upper body"))  # picture's height in faces
SIDE, EVEN = 1.35, 1.12  # ratio of the two halves' brightness
DIM = 90.0  # grey level below which nine tenths of a dim picture lie
SOFT = 6.0  # sharpness of a face out of focus
LONGEST = 640  # pixels; more of the background tells no more
HAIR = 0.2  # of the face's height: long hair stands out of head masks
SMALLEST = 0.05  # share of the picture that is enough background to speak of
PLAIN = 9.0  # standard deviation of lightness, in 0..100
BLURRED = 0.4  # the background's sharpness in units of the face's
COLOURED, HUE, MOST = 12.0, 35.0, 0.6  # distance from grey; degrees from the mean hue; share of pixels so coloured
HUES = (
    *((20, "pink"), (55, "red"), (80, "orange"), (110, "yellow"), (175, "green"), (230, "turquoise")),
    *((300, "blue"), (340, "purple"), (360, "pink")),
)


def words(candidate: Candidate, quality: Quality, masks: Masks) -> str:
    """Phrases between commas, the first is the subject: "portrait photo of a person, smiling, looking to the left,
    close-up, light from the right, dark blurred background". The same for the same picture, always."""
    pixels, face = candidate.picture.pixels, candidate.face
    phrases = (
        DRAWING if face.backend == "avatar" else PHOTO,
        _colours(pixels),
        expression(face),
        _direction(face.pose),
        "head tilted" if abs(face.pose.roll) > TILTED else "",
        _framing(face, len(pixels)),
        _light(pixels, face),
        "soft focus" if quality.sharpness < SOFT else "",
        _background(pixels, face, masks.head),
    )
    return ", ".join(phrase for phrase in phrases if phrase)


def _lab(pixels: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 RGB -> (..., 3) CIELAB float32: lightness in 0..100, a, b."""
    return cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)


def _colours(pixels: np.ndarray) -> str:
    """(h, w, 3) uint8 RGB -> "black and white", or nothing."""
    small = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA)
    return "black and white" if np.linalg.norm(_lab(small)[..., 1:], axis=2).mean() < GREY else ""


def _direction(pose: Pose) -> str:
    """As seen: a face that looks to the left looks to the picture's left edge."""
    turn = abs(pose.yaw)
    if turn < FRONTAL:
        return "facing the camera"
    if turn < TURNED:
        return ""
    return f"looking {'' if turn > FAR else 'slightly '}to the {'right' if pose.yaw > 0 else 'left'}"


def _framing(face: Face, height: int) -> str:
    faces = height / max(1.0, face.box[3] - face.box[1])
    return next((name for most, name in FRAMES if faces < most), "from a distance")


def _light(pixels: np.ndarray, face: Face) -> str:
    """Of an (h, w, 3) uint8 RGB picture: which side of a frontal face is brighter; for others only whether the whole
    picture is dim."""
    if np.percentile(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), 90) < DIM:
        return "dim light"
    if abs(face.pose.yaw) >= TURNED:
        return ""
    crop, _ = align(pixels, face.landmarks)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float64)
    left, right = grey[30:104, 24:52].mean() + 1, grey[30:104, 60:88].mean() + 1
    if max(left, right) / min(left, right) > SIDE:
        return f"light from the {'left' if left > right else 'right'}"
    return "even light" if max(left, right) / min(left, right) < EVEN else ""


def _background(pixels: np.ndarray, face: Face, head: np.ndarray) -> str:
    """Of what lies beside and above the head: below the chin there are clothes. Looked at where the face is 112 px."""
    scale = float(np.sqrt(np.linalg.det(alignment(face.landmarks)[:, :2])))
    scale = min(scale, LONGEST / max(pixels.shape[:2]))
    size = max(16, round(pixels.shape[1] * scale)), max(16, round(pixels.shape[0] * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    small_head = cv2.resize(head.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    behind = cv2.distanceTransform(1 - small_head, cv2.DIST_L2, 3) > HAIR * scale * (face.box[3] - face.box[1])
    behind[max(0, round(scale * face.box[3])) :] = False
    black = cv2.dilate(cv2.inRange(small, (0, 0, 0), (0, 0, 0)), np.ones((5, 5), np.uint8)) > 0
    coloured = behind & ~black  # pure black is what rotation and cutting out leave
    if coloured.mean() < SMALLEST:
        return "black background" if behind.mean() >= SMALLEST else ""
    lab = _lab(small[coloured][None])[0]
    kind = ""
    if float(lab[:, 0].std()) < PLAIN:
        kind = "plain"
    elif _detail(small, coloured) < BLURRED * _detail(small, small_head > 0):
        kind = "blurred"
    phrase = " ".join(word for word in (kind, _tone(lab)) if word)
    return f"{phrase} background" if phrase else ""


def _detail(pixels: np.ndarray, where: np.ndarray) -> float:
    """RMS of the Laplacian of grey levels of an (h, w, 3) uint8 RGB picture where an (h, w) mask is True; the mask's
    edge is no detail of what it holds."""
    inner = cv2.erode(where.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0) > 0
    detail = cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.CV_64F)[inner]
    return float(np.sqrt((detail**2).mean())) if inner.any() else 0.0


def _tone(lab: np.ndarray) -> str:
    """The colour that most of (n, 3) CIELAB pixels have, else how light they are."""
    lightness, strength = float(lab[:, 0].mean()), np.linalg.norm(lab[:, 1:], axis=1)
    mean = lab[:, 1:].mean(0)
    alike = lab[:, 1:] @ mean > np.cos(np.radians(HUE)) * strength * np.linalg.norm(mean)
    if lightness > 20 and ((strength > COLOURED) & alike).mean() > MOST:
        hue = float(np.degrees(np.arctan2(mean[1], mean[0]))) % 360
        name = next(name for end, name in HUES if hue < end)
        return "brown" if name in ("red", "orange", "yellow") and lightness < 55 and strength.mean() < 45 else name
    if lightness < 30:
        return "dark"
    if lightness > 75:
        return "white" if lightness > 90 and strength.mean() < 6 else "bright"
    return ""

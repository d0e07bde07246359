"""Hair and glasses in a photo: what can be told for sure; of the rest nothing is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from facefact.world.likeness.colours import Colours, lab, without_warmth
from facefact.world.likeness.glasses import glasses_in
from facefact.world.likeness.sight import Sight

# Where hair is looked for, in the head's own axes: a in half widths of the face from its middle, b in heights of the
# face (forehead's top to chin) above the forehead's top.
CROWN = ((-0.62, 0.62), (0.08, 0.34))
BESIDE = ((1.03, 1.35), (-0.70, -0.30))  # cheeks
BELOW = ((1.00, 1.40), (-1.05, -0.70))  # chin
OTHER = 12.0  # CIELAB distance from the skin beyond which a pixel of the crown is not skin
SAME = 18.0  # and from the hair within which a pixel is hair
LIGHTNESS = 0.6  # weight of L* in both: shadows
FEWEST = 40  # pixels of the crown that must show the head
BALD, HAIRY = 0.2, 0.45  # shares of the crown that are not skin: below is bald, from here on hair, between is unsure
LONG = (0.35, 0.25)  # shares of hair beside cheeks and chin, on both sides, from which on it is long
GAUDY = 34.0  # a*: redder than hair, a cap


@dataclass(frozen=True)
class Worn:
    """choices: hair, hair_colour, glasses as the world names them; what is unsure is not there."""

    choices: dict[str, str]


def worn_in(sight: Sight, colours: Colours) -> Worn:
    """What one photo shows."""
    if sight.mesh is None:  # without a mesh and a segmented person hair cannot be told from what is behind
        return Worn({})
    return Worn(hair_in(sight, colours) | glasses_in(sight))


def worn_in_all(photos: Sequence[Worn]) -> Worn:
    """What most of the photos that tell of it show; glasses where half of all photos show them."""
    choices = {}
    for name in ("hair", "hair_colour", "glasses"):
        told = Counter(one.choices[name] for one in photos if name in one.choices)
        if told and (name != "glasses" or 2 * told.total() >= len(photos)):
            choices[name] = told.most_common(1)[0][0]
    if choices.get("hair") == "bald":
        choices.pop("hair_colour", None)
    return Worn(choices)


def hair_in(sight: Sight, colours: Colours) -> dict[str, str]:
    """hair (bald, short, long) and hair_colour (black, brown, blond, grey), or nothing."""
    assert sight.mesh is not None
    view = lab(cv2.GaussianBlur(sight.view, (0, 0), 1.2))
    a, b = _axes(sight)
    crown = _inside(a, b, CROWN) & sight.person
    if crown.sum() < FEWEST:
        return {}
    weight = np.array([LIGHTNESS, 1, 1])
    far = lambda colour: np.linalg.norm((view - colour) * weight, axis=-1)  # noqa: E731
    other = crown & (np.minimum(far(colours.skin), far(colours.cheeks)) > OTHER)
    share = other.sum() / crown.sum()
    if share < BALD:
        return {"hair": "bald"}
    if share < HAIRY:
        return {}
    hair = np.median(view[other], 0)
    named = colour_of_hair(hair, colours.skin)
    if named is None:
        return {}
    same = sight.person & (far(hair) < SAME)
    sides = [min(float(same[_inside(sign * a, b, part)].mean()) for sign in (-1, 1)) for part in (BESIDE, BELOW)]
    long = all(share >= least for share, least in zip(sides, LONG, strict=True))
    return {"hair": "long" if long else "short", "hair_colour": named}


def colour_of_hair(hair: np.ndarray, skin: np.ndarray) -> str | None:
    """(3,) CIELAB of hair and skin -> its name; None of what is no hair's colour, or between two. (Red is not told from
    brown.)"""
    lightness, red, _ = hair
    yellow = without_warmth(hair, skin)
    if red > GAUDY or yellow < -12:
        return None
    if lightness < 17 or (lightness < 23 and yellow < 7):
        return "black"
    if lightness > 72 and yellow < 20:
        return "grey"
    if lightness > 30 and yellow < 12:
        return "grey" if yellow < 9 and red < 8 else None
    if lightness > 36 and yellow > 12:
        return "blond" if lightness > 44 and yellow > 18 and red < 14 else None
    return "brown"


def _axes(sight: Sight) -> tuple[np.ndarray, np.ndarray]:
    """(SIDE, SIDE) each: a and b of every pixel."""
    assert sight.mesh is not None
    points = sight.mesh[:, :2]
    up = points[10] - points[152]
    height = float(np.linalg.norm(up))
    up = up / height
    side = np.array([-up[1], up[0]])
    y, x = np.mgrid[: sight.view.shape[0], : sight.view.shape[1]]
    pixels = np.stack([x, y], -1).astype(np.float64)
    half = np.linalg.norm(points[454] - points[234]) / 2
    return (pixels - (points[234] + points[454]) / 2) @ side / half, (pixels - points[10]) @ up / height


def _inside(a: np.ndarray, b: np.ndarray, part: tuple[tuple[float, float], tuple[float, float]]) -> np.ndarray:
    (a0, a1), (b0, b1) = part
    return (a >= a0) & (a < a1) & (b >= b0) & (b < b1)

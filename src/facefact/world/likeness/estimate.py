"""The person of the world that photos show: every identity factor that can be measured, and the rest left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from facefact.world.draw import Rendering, render
from facefact.world.face import skin_colour
from facefact.world.factors import IDENTITY, Look, Person
from facefact.world.likeness.calibration import Calibration, calibration
from facefact.world.likeness.colours import Colours, colours_of, lab, without_warmth
from facefact.world.likeness.shape import shape_of
from facefact.world.likeness.sight import Sight
from facefact.world.likeness.worn import Worn, worn_in, worn_in_all

# What is not measured. Everybody in the world has a mole: that of a photo's avatar is low on the cheek.
UNMEASURED = {"freckles": -1.0, "mole": -0.62}
LOOK = {
    "hair": "short",
    "hair_colour": "brown",
    "expression": "neutral",
    "pose": "front",
    "glasses": "none",
    "hat": "none",
    "clothes": "t-shirt",
    "clothes_colour": "white",
    "scene": "studio",
    "light": "day",
}
DARKNESS = 0.012  # of logarithms of the brow's thickness to a step of L* between skin and brow: equal spreads
BROWN, BLUE = -1.0, 0.42  # the iris factor of a warm and of a cold iris
COLD, LIGHT = 5.0, 25.0  # b* below which, and L* above which an iris is blue: of brown eyes none in 132 press photos


@dataclass(frozen=True)
class Likeness:
    """person: of the world. cheeks: (3,) CIELAB, the skin of the cheeks as the photos show it. worn: hair and glasses
    that were found for sure."""

    person: Person
    cheeks: np.ndarray
    worn: Worn


@dataclass(frozen=True)
class Measured:
    """What one photo tells. measures: by name; those that have a calibration are straightened by it."""

    kind: str
    measures: dict[str, float]
    bends: np.ndarray = field(repr=False)
    colours: Colours = field(repr=False)


def measured(sight: Sight) -> Measured:
    """All that one photo tells, not yet calibrated."""
    shape, colours = shape_of(sight), colours_of(sight)
    measures = dict(shape.measures)
    if colours.brows is not None and "brow_thickness" in measures:
        measures["brow_thickness"] += DARKNESS * float(colours.skin[0] - colours.brows[0])
    if colours.lips is not None:
        measures["lip_colour"] = float(colours.lips[1] - colours.skin[1])
    return Measured("points" if sight.mesh is None else "mesh", measures, shape.bends, colours)


def likeness(sights: Sequence[Sight]) -> Likeness:
    """From one photo or several of one person: their measures are averaged."""
    told = [measured(sight) for sight in sights]
    return Likeness(
        person=Person(0, factors_of(told)),
        cheeks=np.mean([one.colours.cheeks for one in told], 0),
        worn=worn_in_all([worn_in(sight, one.colours) for sight, one in zip(sights, told, strict=True)]),
    )


def factors_of(told: Sequence[Measured], fitted: Mapping[str, Calibration] | None = None) -> np.ndarray:
    """(len(IDENTITY),) in [-1, 1]. fitted: calibrations by kind, each in the place of the package's of that kind."""
    scales = {one.kind: (fitted or {}).get(one.kind) or calibration(one.kind) for one in told}
    factors = dict.fromkeys(IDENTITY, 0.0) | UNMEASURED
    for name in IDENTITY:
        found = [
            scales[one.kind][name].factor(scales[one.kind][name].straightened(one.measures[name], one.bends))
            for one in told
            if name in one.measures and name in scales[one.kind]
        ]
        if found:
            factors[name] = float(np.mean(found))
    factors["skin_tone"], factors["skin_hue"] = nearest_skin(np.mean([one.colours.skin for one in told], 0))
    factors["lip_colour"] = -max(0.0, factors["lip_colour"])  # the world: natural at 0, red at -1, purple at 1
    factors["iris"] = BLUE if 2 * sum(cold_iris(one.colours) for one in told) > len(told) else BROWN
    return np.array([factors[name] for name in IDENTITY])


def cold_iris(colours: Colours) -> bool:
    """Whether the irises are blue for sure. (In small photos those of blue eyes hardly ever are.)"""
    if colours.irises is None:
        return False
    return bool(colours.irises[0] > LIGHT and without_warmth(colours.irises, colours.skin) < COLD)


@cache
def _skins() -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) skin_tone and skin_hue over all of their range, (n, 3) the skin's CIELAB."""
    pairs = np.stack(np.meshgrid(np.linspace(-1, 1, 101), np.linspace(-1, 1, 21), indexing="ij"), -1).reshape(-1, 2)
    people = (dict.fromkeys(IDENTITY, 0.0) | {"skin_tone": tone, "skin_hue": hue} for tone, hue in pairs)
    colours = [skin_colour(Person(0, np.array(list(one.values())))) for one in people]
    return pairs, lab(np.array(colours))


def nearest_skin(colour: np.ndarray) -> tuple[float, float]:
    """(3,) CIELAB -> skin_tone and skin_hue of the world's nearest skin."""
    pairs, colours = _skins()
    tone, hue = pairs[np.linalg.norm(colours - colour, axis=1).argmin()]
    return float(tone), float(hue)


def portrait(one: Likeness, *, size: int = 128) -> Rendering:
    """The avatar, from the front, with the hair and the glasses of the photos."""
    return render(one.person, Look({**LOOK, **one.worn.choices}, 0.0, 0.0, (0.0, 0.0), 1.1, 1), size=size)

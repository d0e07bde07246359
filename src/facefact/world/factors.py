"""Who a person of the portrait world is, and how one portrait of that person looks.

Identity is continuous (`IDENTITY`: every factor uniform in [-1, 1]); everything else is named (`CHOICES`), so that a
caption can say it. Identities are unlimited: a person is a seed, and two seeds never share a person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IDENTITY = (
    "skin_tone",
    "skin_hue",
    "face_width",
    "face_height",
    "jaw",
    "chin",
    "eye_spacing",
    "eye_size",
    "eye_tilt",
    "eye_opening",
    "iris",
    "brow_thickness",
    "brow_tilt",
    "brow_height",
    "nose_length",
    "nose_width",
    "mouth_width",
    "lip_fullness",
    "lip_colour",
    "ear_size",
    "freckles",
    "mole",
)

CHOICES: dict[str, tuple[str, ...]] = {
    "hair": ("bald", "short", "long", "curly", "bun", "spiky"),
    "hair_colour": ("black", "brown", "blond", "red", "grey", "blue"),
    "expression": ("neutral", "smiling", "laughing", "sad", "surprised"),
    "pose": ("left", "front", "right"),
    "glasses": ("none", "round", "square", "sun"),
    "hat": ("none", "cap", "beanie", "straw"),
    "clothes": ("t-shirt", "suit", "sweater", "hoodie"),
    "clothes_colour": ("red", "blue", "green", "yellow", "white", "black"),
    "scene": ("beach", "forest", "city", "snow", "night", "studio"),
    "light": ("day", "warm", "cool"),
}

# How often each choice is drawn; what is not here is uniform.
WEIGHTS: dict[str, tuple[float, ...]] = {
    "hair": (0.1, 0.2, 0.2, 0.18, 0.16, 0.16),
    "glasses": (0.46, 0.2, 0.2, 0.14),
    "hat": (0.49, 0.17, 0.17, 0.17),
    "light": (0.5, 0.25, 0.25),
}


@dataclass(frozen=True)
class Person:
    """An identity. factors: (len(IDENTITY),) float64 in [-1, 1], in the order of `IDENTITY`."""

    seed: int
    factors: np.ndarray

    def __getitem__(self, name: str) -> float:
        return float(self.factors[IDENTITY.index(name)])


@dataclass(frozen=True)
class Look:
    """Everything in a portrait but the person: the named choices, and the small continuous variation that no caption
    names.

    yaw, roll: degrees (yaw > 0: towards the picture's right). shift: (2,) and zoom: of the head, in shares of the
    picture and as a factor. Choices are values of `CHOICES`.
    """

    choices: dict[str, str]
    yaw: float
    roll: float
    shift: tuple[float, float]
    zoom: float
    variation: int

    def __getitem__(self, name: str) -> str:
        return self.choices[name]


def person(seed: int) -> Person:
    """The person of a seed. Distinct seeds are distinct people (the chance of an equal pair is nil)."""
    return Person(seed, np.random.default_rng((seed, 1)).uniform(-1, 1, len(IDENTITY)))


def look(seed: int, **fixed: str) -> Look:
    """A random look; keyword arguments fix choices by name (`hat="cap"`).

    Raises ValueError for an unknown factor or value.
    """
    for name, value in fixed.items():
        if value not in CHOICES.get(name, ()):
            known = ", ".join(CHOICES.get(name, CHOICES))
            raise ValueError(f"the portrait world knows no {name}={value!r}; choose from: {known}")
    rng = np.random.default_rng((seed, 2))
    choices = {name: str(rng.choice(values, p=WEIGHTS.get(name))) for name, values in CHOICES.items()} | fixed
    turn = {"left": -1.0, "front": 0.0, "right": 1.0}[choices["pose"]]
    yaw = turn * rng.uniform(16, 30) + (1 - abs(turn)) * rng.uniform(-5, 5)
    shift = (float(rng.uniform(-0.025, 0.025)), float(rng.uniform(-0.02, 0.02)))
    return Look(choices, float(yaw), float(rng.uniform(-6, 6)), shift, float(rng.uniform(1.05, 1.15)), seed)


def visible(shown: Look) -> dict[str, str]:
    """The choices that a viewer can read off the picture: the colour of no hair cannot be; the style under a hat cannot
    be told for short, spiky, curly and bald heads; sunglasses leave the expression readable (the mouth)."""
    seen = dict(shown.choices)
    if shown["hair"] == "bald":
        del seen["hair_colour"]
    if shown["hat"] != "none" and shown["hair"] in ("bald", "short", "spiky", "curly", "bun"):
        del seen["hair"]
    return seen

"""What a portrait's caption says: every named choice, in words, in one fixed order; phrases may be left out."""

from __future__ import annotations

from collections.abc import Iterable

from facefact.world.factors import CHOICES, Look

HAIR = {
    "bald": "with a bald head",
    "short": "with short {} hair",
    "long": "with long {} hair",
    "curly": "with curly {} hair",
    "bun": "with {} hair in a bun",
    "spiky": "with spiky {} hair",
}
EXPRESSION = {"neutral": "calm", "smiling": "smiling", "laughing": "laughing", "sad": "sad", "surprised": "surprised"}
POSE = {"left": "turned left", "front": "facing forward", "right": "turned right"}
GLASSES = {"none": "", "round": "round glasses", "square": "square glasses", "sun": "dark sunglasses"}
HAT = {"none": "", "cap": "a cap", "beanie": "a beanie", "straw": "a straw hat"}
SCENE = {
    "beach": "at the beach",
    "forest": "in a forest",
    "city": "in a city",
    "snow": "in the snow",
    "night": "under a night sky",
    "studio": "in a studio",
}
LIGHT = {"day": "daylight", "warm": "warm light", "cool": "cool light"}


SUBJECT = "portrait of a person"
# What a training caption may leave out. Glasses and hat always stay: their absence means that there are none.
OPTIONAL = ("hair", "expression", "pose", "clothes", "scene", "light")


def phrases(look: Look) -> dict[str, str]:
    """The look in phrases by name (subject, hair, expression, pose, glasses, hat, clothes, scene, light), in the
    caption's order; what there is nothing to say of is not there."""
    parts = {
        "subject": SUBJECT,
        "hair": HAIR[look["hair"]].format(look["hair_colour"]),
        "expression": EXPRESSION[look["expression"]],
        "pose": POSE[look["pose"]],
        "glasses": GLASSES[look["glasses"]] and "wearing " + GLASSES[look["glasses"]],
        "hat": HAT[look["hat"]] and "with " + HAT[look["hat"]],
        "clothes": f"in a {look['clothes_colour']} {look['clothes']}",
        "scene": SCENE[look["scene"]],
        "light": LIGHT[look["light"]],
    }
    return {name: text for name, text in parts.items() if text}


def caption(look: Look, *, without: Iterable[str] = ()) -> str:
    """The look in words: "portrait of a person, with long red hair, smiling, turned left, wearing round glasses, in a
    blue hoodie, at the beach, warm light". `without` names phrases to leave out (see `phrases`)."""
    left_out = set(without)
    return ", ".join(text for name, text in phrases(look).items() if name not in left_out)


def corpus() -> list[str]:
    """Captions that hold every word of the world, for the tokenizer."""
    base = {name: values[-1] for name, values in CHOICES.items()}
    looks = [{**base, name: value} for name, values in CHOICES.items() for value in values]
    return [caption(Look(choices, 0, 0, (0, 0), 1, 0)) for choices in looks]

"""The demo model's prompts, completed: it learned from captions that name everything, and draws what they name.

What a prompt leaves open it would draw as a mixture of everything, which is a blur: so the seed chooses it, as it
chooses everything else that no word names. And it knows one way of saying a thing: "short blond hair" without the
"with" of its captions gives a bun, and a laugh is lost beside it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from facefact.world import CHOICES, Look, look
from facefact.world.caption import SUBJECT, phrases

# A caption's parts in its order, and the words by which a part of a prompt is known to be one of them.
MARKS: Mapping[str, str] = {
    "subject": r"person|portrait|man|woman|face|somebody",
    "hair": r"hair|bald",
    "expression": r"calm|neutral|smil\w*|laugh\w*|sad|surprised",
    "pose": r"turned|facing",
    "glasses": r"glasses|sunglasses",
    "hat": r"cap|beanie|hat",
    "clothes": r"t-shirt|suit|sweater|hoodie",
    "scene": r"beach|forest|city|snow|night|studio",
    "light": r"daylight|warm light|cool light",
}
# What the seed chooses, the most needed first: the text encoder reads only so many words. Glasses and hats are worn
# where they are named.
CHOSEN = ("hair", "expression", "pose", "clothes", "scene", "light")


def completed(
    prompt: str, seed: int, *, names: Sequence[str] = CHOSEN, fits: Callable[[str], bool] = lambda text: True
) -> tuple[str, tuple[str, ...]]:
    """The prompt as captions say it, with a phrase for each of the caption's parts `names` that it does not name, in
    the caption's order; and what was added. The same seed adds the same.

    fits: whether the text encoder reads all of a text. Prompts with weights such as (red:1.3), and empty ones, stay as
    they are."""
    if not prompt.strip() or re.search(r"[()\[\]]", prompt):
        return prompt, ()
    given = [_as_captions_say(part.strip()) for part in prompt.split(",") if part.strip()]
    named = parts_named(prompt)
    drawn = phrases(_drawn(seed))
    added: dict[str, str] = {} if "subject" in named else {"subject": SUBJECT}
    for name in names:
        if name not in named and fits(_joined(given, added | {name: drawn[name]})):
            added[name] = drawn[name]
    return _joined(given, added), tuple(added[name] for name in MARKS if name in added)


SMALL = frozenset(("a", "an", "at", "dark", "her", "his", "in", "of", "the", "their", "under", "wearing", "with"))


def _as_captions_say(part: str) -> str:
    """The caption's phrase of the same words, small ones aside: "round glasses" is "wearing round glasses". A part that
    is none stays as it is."""
    return _sayings().get(_content(part), part)


def _content(part: str) -> frozenset[str]:
    return frozenset(re.findall(r"[\w-]+", part.lower())) - SMALL


@functools.cache
def _sayings() -> dict[frozenset[str], str]:
    """Every phrase that captions have, but for whom they show, by its words."""
    plain = {name: values[-1] for name, values in CHOICES.items()}
    pairs = [("hair", "hair_colour"), ("clothes", "clothes_colour"), *((name, name) for name in CHOICES)]
    looks = [
        Look({**plain, one: a, other: b}, 0, 0, (0, 0), 1, 0)
        for one, other in pairs
        for a in CHOICES[one]
        for b in CHOICES[other]
    ]
    return {_content(words): words for each in looks for name, words in phrases(each).items() if name != "subject"}


def parts_named(prompt: str) -> set[str]:
    """Which of the caption's parts (see `MARKS`) a prompt names."""
    return {name for name, marks in MARKS.items() if _says(marks, prompt)}


def _drawn(seed: int) -> Look:
    rng = np.random.default_rng((seed, 5))
    return look(int(rng.integers(2**40)), hair=str(rng.choice([one for one in CHOICES["hair"] if one != "bald"])))


def _says(marks: str, part: str) -> bool:
    return re.search(rf"\b(?:{marks})\b", part.lower()) is not None


def _joined(given: list[str], added: Mapping[str, str]) -> str:
    """The given parts and the added ones in the caption's order; a given part lies where the first mark in it says, one
    that nobody knows at the end."""
    order = list(MARKS)
    placed = [
        (next((i for i, name in enumerate(order) if _says(MARKS[name], part)), len(order)), part) for part in given
    ]
    placed += [(order.index(name), words) for name, words in added.items()]
    return ", ".join(words for _, words in sorted(placed, key=lambda one: one[0]))

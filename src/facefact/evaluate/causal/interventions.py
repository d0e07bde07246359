"""Who is asked for, and what is changed: one factor of the reference at a time, and nothing else.

A subject is a held-out person with a reference picture's look, another look that the prompt describes, and a seed.
Faces are bare and turned to the front in both, so that what an intervention does can be seen: no glasses, no hat,
hair that has a colour. An identity factor moves by `STEP` towards the side where there is room; a named factor of the
look becomes one of its other values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from facefact.world import CHOICES, IDENTITY, Look, Person, caption, first_held_out, held_out_seed, look, person

STEP = 1.0  # of a factor that runs from -1 to 1
FACTORS = (*IDENTITY, *CHOICES)
BARE = {"pose": "front", "glasses": "none", "hat": "none"}
YAW = {"left": -23.0, "front": 0.0, "right": 23.0}  # degrees, the middle of what the world draws
LATER = 400_000  # how far behind the first person of an evaluation with the same seed the subjects begin
HIDING = {"glasses": ("sun",)}  # what would hide other factors of the reference is not put on


@dataclass(frozen=True)
class Subject:
    """who: whose reference it is. reference: its look. wanted: the look that the prompt describes."""

    who: Person
    reference: Look
    wanted: Look
    prompt: str
    seed: int


@dataclass(frozen=True)
class Intervention:
    """factor: one of `FACTORS`. who, reference: what the changed reference shows. wanted: the wanted look with the same
    change (of a look's factor; else as it was): what the world itself would draw. direction: +1 or -1, of an identity
    factor. value: of a look's factor, the new one."""

    factor: str
    who: Person
    reference: Look
    wanted: Look
    direction: float = 1.0
    value: str = ""


def subjects(seed: int, people: int) -> tuple[Subject, ...]:
    """So many held-out people; other seeds, other people. None of them is in `protocol` of the same seed."""
    rng, first = np.random.default_rng((seed, 91)), first_held_out(seed) + LATER
    found = []
    for i in range(people):
        reference, wanted = bare_look(held_out_seed(rng)), bare_look(held_out_seed(rng))
        found.append(Subject(person(first + i), reference, wanted, caption(wanted), int(rng.integers(2**31))))
    return tuple(found)


def bare_look(seed: int) -> Look:
    """A random look with `BARE` and with hair."""
    shown = look(seed, **BARE)
    if shown["hair"] != "bald":
        return shown
    others = [value for value in CHOICES["hair"] if value != "bald"]
    return look(seed, **BARE, hair=others[seed % len(others)])


def interventions(subject: Subject, *, seed: int) -> tuple[Intervention, ...]:
    """One for each of `FACTORS`, in their order. seed: of the new values of the look."""
    rng = np.random.default_rng((seed, subject.who.seed % 2**32, 92))
    of_person = [moved(subject, name) for name in IDENTITY]
    return (*of_person, *(changed(subject, name, rng) for name in CHOICES))


def moved(subject: Subject, name: str) -> Intervention:
    """The person with one identity factor moved by `STEP`, away from the nearer end."""
    direction = -1.0 if subject.who[name] > 0 else 1.0
    factors = subject.who.factors.copy()
    factors[IDENTITY.index(name)] += direction * STEP
    return Intervention(name, Person(subject.who.seed, factors), subject.reference, subject.wanted, direction)


def changed(subject: Subject, name: str, rng: np.random.Generator) -> Intervention:
    """The reference's look with another value of one choice: neither its own nor the one that is asked for."""
    taken = {subject.reference[name], subject.wanted[name], *HIDING.get(name, ())}
    free = [value for value in CHOICES[name] if value not in taken]
    value = str(rng.choice(free))
    reference, wanted = with_choice(subject.reference, name, value), with_choice(subject.wanted, name, value)
    return Intervention(name, subject.who, reference, wanted, value=value)


def with_choice(shown: Look, name: str, value: str) -> Look:
    """The same look but for one choice; a turned head is turned."""
    choices = dict(shown.choices) | {name: value}
    return replace(shown, choices=choices, yaw=YAW[value] if name == "pose" else shown.yaw)


def directions(changes: Sequence[Sequence[Intervention]]) -> np.ndarray:
    """(people, len(FACTORS)) of +1 and -1."""
    return np.array([[one.direction for one in row] for row in changes])


def new_values(changes: Sequence[Sequence[Intervention]]) -> Mapping[str, np.ndarray]:
    """By factor of the look (people,): the index of the new value in `CHOICES`."""
    place = {name: FACTORS.index(name) for name in CHOICES}
    return {name: np.array([CHOICES[name].index(row[at].value) for row in changes]) for name, at in place.items()}

"""Who and what is measured on the world: people that no training saw, one reference picture of each, and prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facefact.world import Look, Person, Rendering, caption, first_held_out, held_out_seed, look, person, render


@dataclass(frozen=True)
class Case:
    """One picture to be made. own: which person of the protocol. wanted: the look that the prompt describes."""

    own: int
    wanted: Look
    prompt: str
    seed: int


@dataclass(frozen=True)
class Protocol:
    """people, references: one each. cases: `per_person` of each, person by person."""

    people: tuple[Person, ...]
    looks: tuple[Look, ...]
    references: tuple[Rendering, ...]
    cases: tuple[Case, ...]

    @property
    def own(self) -> np.ndarray:
        """(cases,) the index of each case's person."""
        return np.array([case.own for case in self.cases])


def protocol(seed: int, *, people: int = 100, per_person: int = 4) -> Protocol:
    """`people` held-out people with `per_person` cases each; other seeds, other people.

    A reference is a random look without dark sunglasses (nobody hands in a photo that hides the eyes); the wanted looks
    are random and independent of it.
    """
    rng = np.random.default_rng((seed, 77))
    first = first_held_out(seed)
    who = tuple(person(first + i) for i in range(people))
    looks = []
    for _ in who:
        drawn = look(held_out_seed(rng))
        while drawn["glasses"] == "sun":
            drawn = look(held_out_seed(rng))
        looks.append(drawn)
    cases = []
    for own in range(people):
        for _ in range(per_person):
            wanted = look(held_out_seed(rng))
            cases.append(Case(own, wanted, caption(wanted), int(rng.integers(2**31))))
    references = tuple(render(one, shown) for one, shown in zip(who, looks, strict=True))
    return Protocol(who, tuple(looks), references, tuple(cases))

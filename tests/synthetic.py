"""A measurement whose effects are given: for what is made of it."""

from __future__ import annotations

import numpy as np

from facefact.evaluate.causal.interventions import FACTORS
from facefact.evaluate.causal.run import WORLD, Measured, Method, Plan
from facefact.world import IDENTITY

PEOPLE = 5
UNREAD = "jaw"


def synthetic(gain: float = 0.5, *, people: int = PEOPLE, noise: float = 0.02, seed: int = 0) -> Measured:
    """The world, a method that passes on `gain` of the person and nothing of the look, and one that copies all."""
    plan, rng = Plan.of(3, people), np.random.default_rng(seed)
    true = np.tile(np.eye(len(FACTORS)), (people, 1, 1))
    true[:, : len(IDENTITY)] *= rng.uniform(0.7, 0.9, (people, 1, 1))
    of_person = (np.arange(len(FACTORS)) < len(IDENTITY))[:, None]
    shaken = noise * rng.normal(size=true.shape)
    first = tuple(np.full((32, 32, 3), 8 * i % 255, np.uint8) for i in range(1 + len(FACTORS)))
    methods = (
        Method("half", gain * true * of_person + shaken, 0.0, 1.0, first),
        Method("copy", true + shaken, 0.1, 1.0, first),
    )
    scores = {name: 0.1 if name == UNREAD else 0.9 for name in IDENTITY}
    return Measured(plan, scores, Method(WORLD, true, 0.0, first=tuple(plan.truths(0))), methods)

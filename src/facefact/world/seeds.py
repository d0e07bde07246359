"""Whom training may draw and whom evaluation, so that no training ever sees a person or a look of the evaluation."""

from __future__ import annotations

import numpy as np

HELD_OUT = 2**41  # seeds of people and looks from here on are for evaluation; training draws below 2**40
PEOPLE_APART = 1_000_003  # how far apart the people of two evaluations with neighbouring seeds begin


def training_seed(rng: np.random.Generator) -> int:
    """Of a person or look that training may see, in [0, 2**40)."""
    return int(rng.integers(HELD_OUT // 2))


def held_out_seed(rng: np.random.Generator) -> int:
    """Of a person or look of the evaluation, in [2**41, 2**42)."""
    return int(rng.integers(HELD_OUT, 2 * HELD_OUT))


def first_held_out(seed: int) -> int:
    """Where the people of the evaluation with this seed begin: seeds from here on are theirs, in a row."""
    return HELD_OUT + PEOPLE_APART * seed

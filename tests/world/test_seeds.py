"""Training and evaluation draw from seeds that do not meet."""

from __future__ import annotations

import numpy as np

from facefact.world import HELD_OUT, first_held_out, held_out_seed, training_seed


def test_training_never_sees_the_held_out() -> None:
    rng = np.random.default_rng(0)
    seeds = [training_seed(rng) for _ in range(20_000)]
    assert min(seeds) >= 0
    assert max(seeds) < HELD_OUT
    assert max(seeds) > 0.45 * HELD_OUT  # (and the range is used)


def test_the_evaluation_sees_the_held_out_alone() -> None:
    rng = np.random.default_rng(0)
    seeds = [held_out_seed(rng) for _ in range(20_000)]
    assert min(seeds) >= HELD_OUT
    assert max(seeds) < 2**42
    assert first_held_out(0) == HELD_OUT
    assert first_held_out(3) - first_held_out(2) == 1_000_003  # (figures were published of these people)

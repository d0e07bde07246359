"""KID and spread: identities, brute force, and what is known of unbiased estimates."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.metrics.distributions import kernel, kid, spread, squared_mmd

RNG = np.random.default_rng(0)


def test_the_estimate_is_the_sum_over_pairs_of_different_pictures() -> None:
    x, y = RNG.normal(size=(7, 3)), RNG.normal(size=(5, 3)) + 1
    k = lambda a, b: (a @ b / 3 + 1) ** 3  # noqa: E731
    mine = np.mean([k(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    theirs = np.mean([k(y[i], y[j]) for i in range(5) for j in range(5) if i != j])
    both = np.mean([k(a, b) for a in x for b in y])
    assert squared_mmd(x, y) == pytest.approx(mine + theirs - 2 * both)
    assert kernel(x, y).shape == (7, 5)


def test_it_is_zero_on_average_for_one_distribution_and_the_true_distance_for_two() -> None:
    """In one dimension, of x = 0 and y = c always: k(0,0) + k(c,c) - 2 k(0,c) = (c^2 + 1)^3 - 1."""
    assert squared_mmd(np.zeros((4, 1)), np.full((6, 1), 0.5)) == pytest.approx(1.25**3 - 1)
    same = [squared_mmd(*RNG.normal(size=(2, 30, 4))) for _ in range(400)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 20
    assert min(same) < 0 < max(same)


def test_kid_has_an_interval_over_people() -> None:
    people = np.repeat(np.arange(40), 3)
    alike = kid(RNG.normal(size=(120, 6)), RNG.normal(size=(120, 6)), people, people)
    apart = kid(RNG.normal(size=(120, 6)), RNG.normal(size=(120, 6)) + 0.7, people, people)
    assert alike.low < 0 < alike.high
    assert apart.low > alike.high
    with pytest.raises(ValueError, match="three people"):
        kid(RNG.normal(size=(9, 6)), RNG.normal(size=(9, 6)), np.zeros(9), np.zeros(9))


def test_kid_of_several_trainings_is_their_mean_and_as_wide_as_they_differ() -> None:
    people = np.repeat(np.arange(40), 3)
    others, one, far = RNG.normal(size=(120, 6)), RNG.normal(size=(120, 6)), RNG.normal(size=(120, 6)) + 0.7
    twice, seeds = np.tile(people, 2), np.repeat([1, 2], 120)
    single, other = kid(one, others, people, people), kid(far, others, people, people)
    same = kid(np.concatenate([one, one]), others, twice, people, seeds)  # nothing is learned from a copy
    assert (same.value, same.low, same.high) == pytest.approx((single.value, single.low, single.high))
    both = kid(np.concatenate([one, far]), others, twice, people, seeds)
    assert both.value == pytest.approx((single.value + other.value) / 2)
    apart = abs(other.value - single.value) / 2  # the standard error of a mean of two
    assert both.high - both.value > 1.96 * apart
    assert both.n == 240


def test_spread_is_nothing_for_one_picture_again_and_one_at_right_angles() -> None:
    same = np.repeat(np.eye(3)[:1][None], 4, 1)
    np.testing.assert_allclose(spread(same), [0], atol=1e-12)
    np.testing.assert_allclose(spread(np.eye(3)[None]), [1])
    np.testing.assert_allclose(spread(np.array([[[1.0, 0], [1, 0], [-1, 0]]])), [4 / 3])
    with pytest.raises(ValueError, match="no spread"):
        spread(np.ones((2, 1, 3)))

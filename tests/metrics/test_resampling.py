"""Intervals over people, galleries and trainings, and thirds of skin tone."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.metrics.resampling import Pictures, by_third, pooled, weights
from facefact.metrics.scores import figure

RNG = np.random.default_rng(0)


def test_with_one_training_and_one_gallery_it_is_the_bootstrap_over_people() -> None:
    people = np.repeat(np.arange(40), 3)
    samples = RNG.normal(size=40)[people] + 0.1 * RNG.normal(size=120)
    one, other = pooled(samples, Pictures(people)), figure(samples, people)
    assert one.value == pytest.approx(other.value)
    assert one.low == pytest.approx(other.low, abs=0.05)
    assert one.high == pytest.approx(other.high, abs=0.05)


def test_the_mean_of_normal_people_is_as_sure_as_the_theory_says() -> None:
    samples = RNG.normal(size=400)
    found = pooled(samples, Pictures(np.arange(400)))
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(samples.std() / 20, rel=0.1)


def test_trainings_that_differ_widen_the_interval_and_people_that_are_shared_are_drawn_together() -> None:
    people, trainings = np.tile(np.arange(50), 3), np.repeat(np.arange(3), 50)
    by_training = np.array([0.2, 0.5, 0.8])[trainings]
    found = pooled(by_training, Pictures(people, trainings=trainings))
    assert found.low == pytest.approx(0.2)
    assert found.high == pytest.approx(0.8)
    by_person = RNG.normal(size=50)[people]
    crossed = pooled(by_person, Pictures(people, trainings=trainings))
    apart = pooled(by_person, Pictures(np.arange(150)))
    assert crossed.high - crossed.low > 1.4 * (apart.high - apart.low), "three pictures of one person are not three"


def test_galleries_widen_it_too_and_people_with_one_number_in_two_galleries_are_two() -> None:
    people, galleries = np.tile(np.arange(20), 2), np.repeat([7, 9], 20)
    found = pooled(np.where(galleries == 7, 0.0, 1.0), Pictures(people, galleries))
    assert (found.low, found.high) == (0, 1)
    times = weights(Pictures(people, np.zeros(40, int)), 50, np.random.default_rng(1))
    assert (times[:, :20] == times[:, 20:]).all()
    times = weights(Pictures(people, galleries), 50, np.random.default_rng(1))
    assert (times[:, :20] != times[:, 20:]).any()


def test_ratios_are_paired_and_what_is_not_there_does_not_count() -> None:
    under = RNG.uniform(1, 9, 60)
    found = pooled(under / 4, Pictures(np.arange(60)), over=under)
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    samples = np.where(np.arange(60) % 2, np.nan, 1.0)
    assert pooled(samples, Pictures(np.arange(60))).n == 30
    with pytest.raises(ValueError, match="no sample counts"):
        pooled(np.full(3, np.nan), Pictures(np.arange(3)))


def test_a_fairness_sheet_finds_who_is_served_worse() -> None:
    tone = np.linspace(-1, 1, 90)
    worse = np.where(tone > 1 / 3, 0.5, 0.9) + 0.05 * RNG.normal(size=90)
    found = by_third(worse, tone, Pictures(np.arange(90)))
    assert found["apart"].high < -0.3
    assert found["apart"].value == pytest.approx(found["dark"].value - found["light"].value)
    assert found["light"].n + found["mid"].n + found["dark"].n == 90
    fair = by_third(RNG.normal(size=90), tone, Pictures(np.arange(90)))
    assert fair["apart"].low < 0 < fair["apart"].high
    assert "apart" not in by_third(worse[:20], tone[:20], Pictures(np.arange(20)))

"""Figures, checked against what they must be by counting."""

import numpy as np
import pytest

from facefact.metrics.scores import change_outside, figure, own_and_other, psnr, retrieved, verification_auc


def test_a_figure_is_the_mean_inside_its_interval() -> None:
    samples = np.random.default_rng(0).normal(3.0, 1.0, 400)
    found = figure(samples)
    assert found.value == pytest.approx(samples.mean())
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.2)  # 2 * 1.96 standard errors


def test_pictures_of_one_person_are_not_independent() -> None:
    each = np.random.default_rng(1).normal(size=50)
    samples, people = np.repeat(each, 8), np.repeat(np.arange(50), 8)
    alone, together = figure(samples), figure(samples, people)
    assert together.value == pytest.approx(alone.value)
    assert (together.high - together.low) > 2 * (alone.high - alone.low)


def test_what_cannot_be_seen_does_not_count() -> None:
    found = figure(np.array([1.0, np.nan, 0.0, np.nan]))
    assert (found.value, found.n) == (0.5, 2)
    with pytest.raises(ValueError, match="no sample"):
        figure(np.array([np.nan]))


SIMILARITY = np.array([[0.9, 0.5, 0.1], [0.8, 0.7, 0.9], [0.2, 0.2, 0.2]])
OWN = np.array([0, 1, 2])


def test_retrieval_counts_ranks_and_gives_no_credit_for_ties() -> None:
    assert retrieved(SIMILARITY, OWN).tolist() == [1, 0, 0]
    assert retrieved(SIMILARITY, OWN, k=2).tolist() == [1, 0, 0]
    assert retrieved(SIMILARITY, OWN, k=3).tolist() == [1, 1, 1]


def test_own_and_other_similarity() -> None:
    own, other = own_and_other(SIMILARITY, OWN)
    np.testing.assert_allclose(own, [0.9, 0.7, 0.2])
    np.testing.assert_allclose(other, [0.3, 0.85, 0.2])


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    np.testing.assert_allclose(verification_auc(SIMILARITY, OWN), [1.0, 0.0, 0.5])


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((2, 4, 4, 3), np.uint8)
    grey = black.copy()
    grey[0] += 51  # a fifth of the range: 20 log10(5) dB
    np.testing.assert_allclose(psnr(grey, black), [20 * np.log10(5), 100])


def test_change_outside_sees_only_the_outside() -> None:
    before = np.zeros((3, 4, 4, 3), np.uint8)
    after, inside = before.copy(), np.zeros((3, 4, 4), bool)
    inside[:, :2] = True
    after[0, :2] = 200
    after[1, 2:] = 10
    inside[2] = True
    change = change_outside(after, before, inside)
    assert change[:2].tolist() == [0, 10]
    assert np.isnan(change[2])

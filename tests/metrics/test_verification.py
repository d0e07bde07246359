"""Verification on similarities whose curve is known."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.metrics.verification import (
    Pairs,
    Roc,
    all_pairs,
    best_threshold,
    fold_accuracy,
    lfw_folds,
    roc,
    roc_figures,
)

AUC = {"auc": lambda curve: curve.auc}


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def clusters(people: int = 40, pictures: int = 4, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings around a random direction for each person, and the people."""
    rng, who = np.random.default_rng(seed), np.repeat(np.arange(people), pictures)
    return unit(rng.normal(size=(people, 64))[who] + noise * rng.normal(size=(len(who), 64))), who


def pairs(same: list[float], different: list[float]) -> Pairs:
    n, m = len(same), len(different)
    return Pairs(np.array([*same, *different]), np.zeros(n + m, int), np.array([0] * n + [1] * m))


def test_a_curve_by_hand() -> None:
    curve = roc(pairs([0.9, 0.6, 0.4], [0.7, 0.3, 0.2, 0.1]))
    assert curve.far.tolist() == [0, 0, 0.25, 0.25, 0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(curve.tar, [0, 1 / 3, 1 / 3, 2 / 3, 1, 1, 1, 1])
    assert curve.auc == pytest.approx(10 / 12)  # 10 of the 12 comparisons come out right
    assert [curve.tar_at(far) for far in (0, 0.2, 0.25, 1)] == pytest.approx([1 / 3, 1 / 3, 1, 1])


def test_equal_similarities_are_no_knowledge() -> None:
    curve = roc(pairs([0.5] * 3, [0.5] * 50))
    assert (curve.auc, curve.tar_at(0.01)) == (0.5, 0)
    assert roc(pairs([0.5, 0.9], [0.5])).auc == 0.75


@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0, 100.0])
def test_the_curve_rises_from_corner_to_corner(noise: float) -> None:
    curve = roc(all_pairs(*clusters(noise=noise)))
    assert (curve.far[0], curve.tar[0], curve.far[-1], curve.tar[-1]) == (0, 0, 1, 1)
    assert (np.diff(curve.far) >= 0).all()
    assert (np.diff(curve.tar) >= 0).all()
    rates = [curve.tar_at(far) for far in (1e-3, 1e-2, 0.1, 1)]
    assert rates == sorted(rates)


def test_a_curve_needs_both_kinds() -> None:
    with pytest.raises(ValueError, match="pairs of one person and pairs of different"):
        roc(pairs([0.4, 0.5], []))


def test_all_pairs_are_all_or_all_of_one_person_and_a_share_of_the_rest() -> None:
    embeddings, people = clusters(people=30, pictures=3)
    whole = all_pairs(embeddings, people)
    assert len(whole.similarity) == 90 * 89 // 2
    assert whole.same.sum() == 30 * 3
    thinned = all_pairs(embeddings, people, most=500)
    assert (thinned.same.sum(), (~thinned.same).sum()) == (90, 500)
    np.testing.assert_allclose(np.sort(thinned.similarity[thinned.same]), np.sort(whole.similarity[whole.same]))


def test_the_interval_is_over_people_and_holds_the_value() -> None:
    embeddings, people = clusters(people=30, noise=2.5)
    curve = all_pairs(embeddings, people)
    found = roc_figures(curve, AUC)["auc"]
    assert found.value == pytest.approx(roc(curve).auc)
    assert 0.5 < found.low < found.value < found.high < 1
    assert found.n == 30 * 6
    twice = Pairs(*(np.tile(values, 2) for values in (curve.similarity, curve.first, curve.second)))
    again = roc_figures(twice, AUC)["auc"]  # copies of pictures are no new people
    assert (again.low, again.high) == pytest.approx((found.low, found.high), abs=1e-9)


def test_a_person_drawn_twice_counts_as_two() -> None:
    """The weights of the resampled curve against a set that really holds the person twice (but not the copies as
    different people)."""
    from facefact.metrics.verification import _Sorted

    embeddings, people = clusters(people=6, pictures=3, noise=2.0)
    whole = _Sorted.of(all_pairs(embeddings, people))
    times = np.array([2, 1, 0, 1, 1, 1])
    first, second, same = whole.pairs.first, whole.pairs.second, whole.pairs.same
    weighted = whole.roc(times[first] * np.where(same, 1, times[second]))
    copies = np.repeat(np.arange(len(first)), times[first] * np.where(same, 1, times[second]))
    really = roc(Pairs(whole.pairs.similarity[copies], first[copies], second[copies]))
    assert weighted.auc == pytest.approx(really.auc)
    assert isinstance(really, Roc)


def test_the_best_threshold_is_the_best() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        same = rng.random(30) < 0.5
        similarity = np.round(rng.normal(size=30) + same, 1)  # with ties
        tried = [((similarity >= t) == same).mean() for t in np.append(np.unique(similarity), 9)]
        assert ((similarity >= best_threshold(similarity, same)) == same).mean() == max(tried)
    assert best_threshold(np.array([0.2, 0.8]), np.array([False, True])) == pytest.approx(0.5)


def test_folds_share_no_person_and_are_balanced() -> None:
    embeddings, people = clusters(people=23, pictures=4, noise=1.0)
    folds = lfw_folds(embeddings, people, folds=10)
    assert folds.pairs.same.mean() == 0.5
    fold_of = {one: set(folds.fold[folds.pairs.first == one]) for one in range(23)}
    assert all(len(found) == 1 for found in fold_of.values())
    for first, second, fold in zip(folds.pairs.first, folds.pairs.second, folds.fold, strict=True):
        assert fold_of[first] == fold_of[second] == {fold}
    with pytest.raises(ValueError, match="19 people are too few for 10 folds"):
        lfw_folds(embeddings[: 19 * 4], people[: 19 * 4], folds=10)


def test_the_threshold_of_a_fold_is_that_of_the_others() -> None:
    embeddings, people = clusters(people=20, noise=1.0)
    folds = lfw_folds(embeddings, people, folds=5)
    right, thresholds = fold_accuracy(folds)
    here = folds.fold == 2
    wanted = best_threshold(folds.pairs.similarity[~here], folds.pairs.same[~here])
    assert thresholds[2] == wanted
    assert right.mean() > 0.95
    assert np.array_equal(right[here], (folds.pairs.similarity[here] >= wanted) == folds.pairs.same[here])

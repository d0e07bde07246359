"""Verification: are two pictures of one person? Pairs, the ROC curve, and the accuracy of the LFW protocol.

Similarities are cosines of unit embeddings, (n, d); `people`: (n,) the person of each picture, as an integer from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from facefact.metrics.scores import RESAMPLES, Figure

MOST_DIFFERENT = 100_000  # pairs of different people; more of them are thinned at random: FAR 0.001 is 100 pairs


@dataclass(frozen=True)
class Pairs:
    """similarity: (p,). first, second: (p,) the two people; the same number where it is one."""

    similarity: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @property
    def same(self) -> np.ndarray:
        """(p,) bool."""
        return self.first == self.second


def pairs_of(embeddings: np.ndarray, people: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Pairs:
    """The pairs of the pictures `rows` with `columns`, (p,) each. embeddings: (n, d). people: (n,)."""
    similarity = np.einsum("pd,pd->p", embeddings[rows], embeddings[columns])
    return Pairs(similarity.astype(np.float64), people[rows], people[columns])


def same_pairs(people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """people: (n,) -> (p,) rows and (p,) columns of all pairs of two pictures of one person, person by person."""
    rows, columns = [], []
    for one in np.unique(people):
        own = np.flatnonzero(people == one)
        first, second = np.triu_indices(len(own), 1)
        rows.append(own[first])
        columns.append(own[second])
    return np.concatenate(rows), np.concatenate(columns)


def all_pairs(embeddings: np.ndarray, people: np.ndarray, *, most: int = MOST_DIFFERENT, seed: int = 0) -> Pairs:
    """Of (n, d) embeddings and (n,) people every pair of one person, and every pair of two people or, where there are
    more than `most`, so many of them."""
    n = len(people)
    if n * (n - 1) // 2 <= most:
        rows, columns = np.triu_indices(n, 1)
        return pairs_of(embeddings, people, rows, columns)
    rows, columns = np.random.default_rng(seed).integers(n, size=(2, 2 * most))
    different = np.flatnonzero(people[rows] != people[columns])[:most]
    own = same_pairs(people)
    return pairs_of(embeddings, people, np.append(own[0], rows[different]), np.append(own[1], columns[different]))


# The ROC curve


@dataclass(frozen=True)
class Roc:
    """The curve from (0, 0) to (1, 1), both rising. far: false accept rate, tar: true accept rate."""

    far: np.ndarray
    tar: np.ndarray

    @property
    def auc(self) -> float:
        """The area under it; equal similarities count half."""
        return float((np.diff(self.far) * (self.tar[1:] + self.tar[:-1]) / 2).sum())

    def tar_at(self, far: float) -> float:
        """The largest true accept rate with at most that false accept rate."""
        return float(self.tar[np.searchsorted(self.far, far, side="right") - 1])


@dataclass(frozen=True)
class _Sorted:
    """Pairs by falling similarity; ends: the last of each run of equal ones, where a threshold can lie."""

    pairs: Pairs
    ends: np.ndarray

    @classmethod
    def of(cls, pairs: Pairs) -> _Sorted:
        order = np.argsort(-pairs.similarity, kind="stable")
        ranked = Pairs(pairs.similarity[order], pairs.first[order], pairs.second[order])
        return cls(ranked, np.flatnonzero(np.diff(ranked.similarity, append=-np.inf)))

    def roc(self, weights: np.ndarray | None = None) -> Roc:
        """weights: (p,) how often each pair is there."""
        same = self.pairs.same
        weights = np.ones(len(same)) if weights is None else weights
        accepted = np.cumsum(weights * same)[self.ends], np.cumsum(weights * ~same)[self.ends]
        tar, far = (np.append(0.0, counts / counts[-1]) for counts in accepted)
        return Roc(far, tar)


def roc(pairs: Pairs) -> Roc:
    """ValueError when there is no pair of one person, or none of two."""
    if pairs.same.all() or not pairs.same.any():
        raise ValueError("an ROC curve needs pairs of one person and pairs of different people")
    return _Sorted.of(pairs).roc()


def roc_figures(pairs: Pairs, statistics: Mapping[str, Callable[[Roc], float]], *, seed: int = 0) -> dict[str, Figure]:
    """Numbers of the ROC curve with their 95 % intervals over people: a person that is drawn twice brings its own pairs
    twice, and those with another person as often as both were drawn. n: pairs of one person."""
    ranked, rng = _Sorted.of(pairs), np.random.default_rng(seed)
    first, second, same = ranked.pairs.first, ranked.pairs.second, ranked.pairs.same
    people = int(max(first.max(), second.max())) + 1
    whole, drawn = roc(pairs), []
    for _ in range(RESAMPLES):
        times = np.bincount(rng.integers(people, size=people), minlength=people)
        weights = times[first] * np.where(same, 1, times[second])
        if weights[same].any() and weights[~same].any():
            curve = ranked.roc(weights)
            drawn.append([statistic(curve) for statistic in statistics.values()])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return {
        name: Figure(statistic(whole), float(low[i]), float(high[i]), int(same.sum()))
        for i, (name, statistic) in enumerate(statistics.items())
    }


# The LFW protocol


@dataclass(frozen=True)
class Folds:
    """As many pairs of different people as of one, in folds that share no person. fold: (p,)."""

    pairs: Pairs
    fold: np.ndarray


def lfw_folds(embeddings: np.ndarray, people: np.ndarray, *, folds: int = 10, seed: int = 0) -> Folds:
    """Every pair of one person, and for each of them one of its first picture with another person of the fold.

    ValueError with fewer than two people a fold.
    """
    names = np.unique(people)
    if len(names) < 2 * folds:
        raise ValueError(f"{len(names)} people are too few for {folds} folds: two of each are needed")
    rng = np.random.default_rng(seed)
    place = dict(zip(names.tolist(), (rng.permutation(len(names)) % folds).tolist(), strict=True))
    fold = np.array([place[one] for one in people.tolist()])
    rows, columns = same_pairs(people)
    others = [rng.choice(np.flatnonzero((fold == fold[row]) & (people != people[row]))) for row in rows]
    pairs = pairs_of(embeddings, people, np.append(rows, rows), np.append(columns, np.array(others, dtype=int)))
    return Folds(pairs, np.append(fold[rows], fold[rows]))


def best_threshold(similarity: np.ndarray, same: np.ndarray) -> float:
    """(p,) float, (p,) bool -> where most pairs are told right by `similarity >= threshold`; midway between two."""
    order = np.argsort(-similarity, kind="stable")
    ranked = np.concatenate([[np.inf], similarity[order], [-np.inf]])
    right = np.append(0, np.cumsum(np.where(same[order], 1, -1)))  # accepting the first k: more right than wrong
    right = np.where(ranked[:-1] > ranked[1:], right, -len(same))  # no threshold lies between equal ones
    k = int(right.argmax())
    if k in (0, len(same)):
        return float(ranked[1] + 1e-6 if k == 0 else ranked[-2])
    return float((ranked[k] + ranked[k + 1]) / 2)


def fold_accuracy(folds: Folds) -> tuple[np.ndarray, np.ndarray]:
    """(p,) 1.0 where a pair is told right by the threshold that is best for the other folds, and those thresholds."""
    pairs, right, thresholds = folds.pairs, np.zeros(len(folds.fold)), []
    for one in np.unique(folds.fold):
        here = folds.fold == one
        threshold = best_threshold(pairs.similarity[~here], pairs.same[~here])
        right[here] = (pairs.similarity[here] >= threshold) == pairs.same[here]
        thresholds.append(threshold)
    return right, np.array(thresholds)

"""Distances of sets of pictures: how far two distributions are apart (KID), and how widely one is spread."""

from __future__ import annotations

import numpy as np

from facefact.metrics.scores import Figure


def kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n, m) of (n, d) and (m, d): (x.y / d + 1)^3, the kernel of KID (Binkowski et al., arXiv 1801.01401)."""
    return (one @ other.T / one.shape[1] + 1) ** 3


def as_long(features: np.ndarray) -> np.ndarray:
    """(n, d) features, each made sqrt(d) long: the kernel then reads cosines, and a distance has the same scale
    whatever the network."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(length, 1e-12) * features.shape[1] ** 0.5


def squared_mmd(one: np.ndarray, other: np.ndarray) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy of two samples, (n, d) and (m, d): 0 on average
    where both are of one distribution (single estimates lie on both sides)."""
    return _mmd(kernel(one, one), kernel(other, other), kernel(one, other))


def _mmd(within: np.ndarray, within_other: np.ndarray, between: np.ndarray) -> float:
    n, m = between.shape
    mine = (within.sum() - np.trace(within)) / (n * (n - 1))
    theirs = (within_other.sum() - np.trace(within_other)) / (m * (m - 1))
    return float(mine + theirs - 2 * between.mean())


def kid(
    features: np.ndarray,
    others: np.ndarray,
    people: np.ndarray,
    other_people: np.ndarray,
    trainings: np.ndarray | None = None,
) -> Figure:
    """`squared_mmd` of (n, d) and (m, d) features, the mean over trainings; its interval is 1.96 standard errors of the
    jackknife that leaves out one person's pictures, in both sets, at a time, and one training at a time (resampling
    with replacement would make equal pictures, and bias it; so would all trainings' pictures of one noise in one set).
    people, other_people: (n,), (m,). trainings: (n,), the training seed of each (None: one). ValueError: fewer than
    three people, or pictures of a set."""
    names = np.union1d(people, other_people)
    seeds = np.zeros(len(features)) if trainings is None else trainings
    parts = [np.flatnonzero(seeds == seed) for seed in np.unique(seeds)]
    if len(names) < 3 or min([len(others), *map(len, parts)]) < 3:
        raise ValueError("KID needs pictures of three people")
    beside = kernel(others, others)
    values, left_out = np.empty(len(parts)), np.empty((len(parts), len(names)))
    for i, part in enumerate(parts):
        within, between = kernel(features[part], features[part]), kernel(features[part], others)
        values[i] = _mmd(within, beside, between)
        for j, one in enumerate(names):
            mine, theirs = np.flatnonzero(people[part] != one), np.flatnonzero(other_people != one)
            left_out[i, j] = _mmd(
                within[np.ix_(mine, mine)], beside[np.ix_(theirs, theirs)], between[np.ix_(mine, theirs)]
            )
    without = (values.sum() - values) / max(len(values) - 1, 1)  # one training each
    error = 1.96 * float(np.sqrt(_jackknife(left_out.mean(0)) + _jackknife(without)))
    value = float(values.mean())
    return Figure(value, value - error, value + error, len(features))


def _jackknife(left_out: np.ndarray) -> float:
    """The variance of a mean, of its (k,) values with one thing left out each; of a single thing nothing is known."""
    k = len(left_out)
    return float((k - 1) / k * ((left_out - left_out.mean()) ** 2).sum())


def spread(embeddings: np.ndarray) -> np.ndarray:
    """(groups, k, d) unit embeddings of k pictures each -> (groups,): the mean of 1 - cosine over all pairs of a group;
    0 where all are one picture. ValueError: one picture has no spread."""
    groups, k, _ = embeddings.shape
    if k < 2:
        raise ValueError("one picture of each has no spread")
    similarity = np.einsum("gid,gjd->gij", embeddings, embeddings)
    pairs = (similarity.sum((1, 2)) - np.trace(similarity, axis1=1, axis2=2)) / (k * (k - 1))
    return 1 - pairs

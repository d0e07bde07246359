"""Average linkage without a matrix gives the textbook's groups; pairwise figures are what counting pairs gives."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from facefact.data import clusters
from facefact.data.clusters import average_linkage, pairwise


def crowd(seed: int, *, people: int = 20, pictures: int = 80, spread: float = 0.7) -> np.ndarray:
    """(pictures, 32) unit vectors around some people."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(people, 32))[rng.integers(people, size=pictures)]
    vectors = vectors + spread * rng.normal(size=vectors.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def sets(labels: np.ndarray, order: np.ndarray | None = None) -> set[frozenset[int]]:
    order = np.arange(len(labels)) if order is None else order
    return {frozenset(order[labels == one].tolist()) for one in np.unique(labels)}


def textbook(vectors: np.ndarray, distance: float) -> set[frozenset[int]]:
    """Join the two groups with the smallest mean squared distance, as long as it is small enough."""
    apart = ((vectors[:, None].astype(np.float64) - vectors[None]) ** 2).sum(-1)
    groups = [[i] for i in range(len(vectors))]
    while len(groups) > 1:
        pairs = list(combinations(range(len(groups)), 2))
        means = [apart[np.ix_(groups[i], groups[j])].mean() for i, j in pairs]
        if min(means) > distance**2:
            break
        i, j = pairs[int(np.argmin(means))]
        groups[i] += groups.pop(j)
    return {frozenset(group) for group in groups}


@pytest.mark.parametrize("distance", [0.0, 0.6, 0.9, 1.1, 1.3, 2.0])
def test_the_groups_are_those_of_the_textbook(distance: float) -> None:
    vectors = crowd(int(distance * 10), pictures=40)
    assert sets(average_linkage(vectors, distance)) == textbook(vectors, distance)


def test_the_groups_are_scipys_on_more() -> None:
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    vectors = crowd(1, people=60, pictures=300)
    rows, columns = np.triu_indices(len(vectors), 1)
    tree = hierarchy.linkage(((vectors[rows] - vectors[columns]) ** 2).sum(1), "average")
    for distance in (0.5, 0.8, 1.0, 1.2):
        theirs = hierarchy.fcluster(tree, distance**2, "distance")
        assert sets(average_linkage(vectors, distance)) == sets(theirs)


def test_order_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = crowd(2, pictures=150)
    labels = average_linkage(vectors, 0.9)
    order = np.random.default_rng(0).permutation(len(vectors))
    assert sets(average_linkage(vectors[order], 0.9), order) == sets(labels)
    monkeypatch.setattr(clusters, "CELLS", 200)
    np.testing.assert_array_equal(average_linkage(vectors, 0.9), labels)


def test_equal_vectors_are_one_group_and_numbers_follow_the_first_members() -> None:
    a, b = np.eye(2, 8, dtype=np.float32)
    np.testing.assert_array_equal(average_linkage(np.stack([b, a, b, a, a]), 0.1), [0, 1, 0, 1, 1])
    np.testing.assert_array_equal(average_linkage(np.stack([a, b]), 2.0), [0, 0])
    assert len(average_linkage(np.zeros((0, 8)), 1.0)) == 0


def test_precision_and_recall_of_pairs_by_counting() -> None:
    rng = np.random.default_rng(0)
    labels, people, times = rng.integers(6, size=40), rng.integers(7, size=40), rng.integers(3, size=7)
    joined = same = right = 0
    for i, j in combinations(range(40), 2):
        weight = times[people[i]] * (1 if people[i] == people[j] else times[people[j]])
        joined += weight * (labels[i] == labels[j])
        same += weight * (people[i] == people[j])
        right += weight * (people[i] == people[j] and labels[i] == labels[j])
    assert pairwise(labels, people, times) == pytest.approx((right / joined, right / same))
    assert pairwise(people, people) == (1, 1)
    assert pairwise(np.arange(5), np.arange(5)) == (1, 1)
    assert pairwise(np.arange(5), np.zeros(5, int)) == (1, 0)

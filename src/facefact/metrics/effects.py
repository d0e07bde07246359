"""Effects of interventions, person by person, as a matrix in units of the true effect; and what is said of it.

`effects`: (people, causes, factors). Row f, column j: what changing cause f did to factor j; NaN where nothing can be
said. Causes and factors are the same, in the same order; the first `identity` of them are the person's, the others the
look's. Diagonal: along the change (1 unit: as far as the truth moves). Elsewhere only the size counts.

A method that was trained several times has (trainings, people, causes, factors): its intervals are over both, crossed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facefact.metrics.scores import RESAMPLES, Figure

SUMMARIES = ("fidelity", "entanglement", "leakage", "leakage_to_identity", "leakage_of_itself")


@dataclass(frozen=True)
class Matrix:
    """value, low, high: (causes, factors), means over people and their 95 % intervals, in units. NaN: no unit."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def resamples(people: int, *, seed: int = 0) -> np.ndarray:
    """(1 + RESAMPLES, people): how often each person is drawn; the first row is everybody once."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(people, size=(RESAMPLES, people))
    counts = np.stack([np.bincount(row, minlength=people) for row in drawn])
    return np.concatenate([np.ones((1, people)), counts])


def trainings_drawn(trainings: int, *, seed: int = 0) -> np.ndarray:
    """(1 + RESAMPLES, trainings), as `resamples`; those of one training are all 1."""
    return resamples(trainings, seed=seed + 1)


def cell_means(effects: np.ndarray, true: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(draws, causes, factors): mean effects by the true diagonal's means of the same draw, the diagonal signed, the
    rest as sizes. effects: see above. true: (people, causes, factors). times: (draws, people), see `resamples`."""
    causes = effects.shape[-1]
    trained = effects.reshape(-1, *true.shape)
    sized = np.where(np.eye(causes, dtype=bool), trained, np.abs(trained)).reshape(-1, causes, causes)
    both = trainings_drawn(len(trained))[: len(times), :, None] * times[:, None, :]
    units = _means(true[:, np.arange(causes), np.arange(causes)], times)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _means(sized, both.reshape(len(times), -1)) / units[:, None, :]


def _means(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(people, ...) -> (draws, ...), NaN ones left out."""
    counts = np.isfinite(values)
    flat = np.where(counts, values, 0).reshape(len(values), -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (times @ flat) / (times @ counts.reshape(len(values), -1))
    return means.reshape(len(times), *values.shape[1:])


def matrix(effects: np.ndarray, true: np.ndarray, *, seed: int = 0) -> Matrix:
    """The means of `cell_means` with their intervals."""
    found = cell_means(effects, true, resamples(len(true), seed=seed))
    low, high = np.nanpercentile(found[1:], [2.5, 97.5], axis=0)
    return Matrix(found[0], low, high)


def statistics(cells: np.ndarray, *, identity: int, readable: np.ndarray) -> dict[str, np.ndarray]:
    """By name (draws,), of (draws, causes, factors) cells. readable: (factors,) bool, the columns that count.

    fidelity: the mean of the diagonal over the person's readable factors. entanglement: of the person's factors on all
    others. leakage: of the look's on anything; leakage_to_identity: on the person's; leakage_of_itself: on the same
    factor of the result (the diagonal of the look).
    """
    causes = cells.shape[1]
    same, column = np.eye(causes, dtype=bool), np.broadcast_to(readable, (causes, causes))
    of_person = np.arange(causes) < identity
    where = {
        "fidelity": same & column & of_person[:, None],
        "entanglement": ~same & column & of_person[:, None],
        "leakage": column & ~of_person[:, None],
        "leakage_to_identity": column & ~of_person[:, None] & of_person,
        "leakage_of_itself": same & column & ~of_person[:, None],
    }
    sized = np.where(where["leakage"], np.abs(cells), cells)
    return {name: np.nanmean((cells if name != "leakage" else sized)[:, at], axis=1) for name, at in where.items()}


def summary(
    effects: np.ndarray, true: np.ndarray, *, identity: int, readable: np.ndarray, seed: int = 0
) -> dict[str, Figure]:
    """The numbers of `statistics`, intervals over people (who are drawn again with their true effects) and trainings.
    n counts a person once for each training."""
    times = resamples(len(true), seed=seed)
    found = statistics(cell_means(effects, true, times), identity=identity, readable=readable)
    return {name: _figure(values, count(effects, true)) for name, values in found.items()}


def count(effects: np.ndarray, true: np.ndarray) -> int:
    """People, once for each training."""
    return len(effects.reshape(-1, *true.shape[1:]))


def differences(
    effects: np.ndarray, other: np.ndarray, true: np.ndarray, *, identity: int, readable: np.ndarray, seed: int = 0
) -> dict[str, Figure]:
    """`effects` less `other` of the same people, paired: both are drawn again with the same people, and, where both
    were trained equally often, with the same trainings."""
    times = resamples(len(true), seed=seed)
    one, two = (
        statistics(cell_means(each, true, times), identity=identity, readable=readable) for each in (effects, other)
    )
    return {name: _figure(one[name] - two[name], count(effects, true)) for name in one}


def _figure(draws: np.ndarray, n: int) -> Figure:
    low, high = np.nanpercentile(draws[1:], [2.5, 97.5])
    return Figure(float(draws[0]), float(low), float(high), n)


def total_variation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(..., values) probabilities, twice -> (...) in [0, 1]: the share of the probability that moved."""
    return 0.5 * np.abs(one - other).sum(-1)


# Pairs instead of interventions


def pair_gains(causes: np.ndarray, results: np.ndarray, people: np.ndarray, *, seed: int = 0) -> Matrix:
    """How much of each difference of two references is found again in the two results: (k, k), row cause, column
    result, by least squares with all causes together (they come together in photos). causes, results: (pairs, k)
    differences, in the same units: 1 on the diagonal is a copy, 0 is none. people: (pairs,), intervals are over them.

    ValueError: fewer pairs than factors, or factors that never differ on their own.
    """
    _, group = np.unique(people, return_inverse=True)
    inner = np.stack([causes[group == g].T @ causes[group == g] for g in range(group.max() + 1)])
    outer = np.stack([causes[group == g].T @ results[group == g] for g in range(group.max() + 1)])
    if len(causes) < causes.shape[1] or np.linalg.matrix_rank(inner.sum(0)) < causes.shape[1]:
        raise ValueError(f"{len(causes)} pairs cannot tell {causes.shape[1]} factors apart")
    times = resamples(len(inner), seed=seed)
    left, right = (np.tensordot(times, part, axes=1) for part in (inner, outer))
    whole = np.linalg.matrix_rank(left) == causes.shape[1]
    found = np.linalg.solve(left[whole], right[whole])
    low, high = np.percentile(found[1:], [2.5, 97.5], axis=0) if len(found) > 1 else (found[0], found[0])
    return Matrix(found[0], low, high)

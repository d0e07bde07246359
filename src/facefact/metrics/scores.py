"""Figures with their uncertainty: retrieval, verification, picture error. All per sample, so that it can be resampled.

A figure's interval is the 95 % bootstrap interval over *people* (all pictures of a person are drawn together: they are
not independent) and, where there are several, over galleries; 1000 resamples, seeded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

RESAMPLES = 1000


@dataclass(frozen=True)
class Figure:
    """A mean over n samples with its 95 % interval [low, high]."""

    value: float
    low: float
    high: float
    n: int

    def as_json(self) -> dict[str, float | int]:
        return {name: round(v, 4) if isinstance(v, float) else v for name, v in asdict(self).items()}


def figure(
    samples: np.ndarray,
    people: np.ndarray | None = None,
    galleries: np.ndarray | None = None,
    *,
    over: np.ndarray | None = None,
    seed: int = 0,
) -> Figure:
    """The mean of (n,) samples, or its ratio to the mean of `over` (n,), sample by sample the same pictures; NaN ones
    do not count.

    people: (n,) which person each belongs to (None: its own). galleries: (n,) the set of people that each was searched
    in (None: one): whole galleries are drawn first, then people of each, so that the interval covers both.
    ValueError when no sample counts.
    """
    samples = np.asarray(samples, np.float64)
    under = np.ones(len(samples)) if over is None else np.asarray(over, np.float64)
    people = np.arange(len(samples)) if people is None else np.asarray(people)
    galleries = np.zeros(len(samples), int) if galleries is None else np.asarray(galleries)
    counts = ~(np.isnan(samples) | np.isnan(under))
    samples, under, people, galleries = (x[counts] for x in (samples, under, people, galleries))
    if not len(samples):
        raise ValueError("no sample counts for this figure")
    _, place = np.unique(galleries, return_inverse=True)
    _, group = np.unique(np.stack([place, people]), axis=1, return_inverse=True)
    group = group.reshape(-1)
    totals, numbers = np.bincount(group, samples), np.bincount(group, under)
    gallery = np.zeros(len(totals), int)
    gallery[group] = place
    means = _resampled(totals, numbers, gallery, np.random.default_rng(seed))
    low, high = np.percentile(means, [2.5, 97.5])
    return Figure(float(samples.sum() / under.sum()), float(low), float(high), len(samples))


def _resampled(totals: np.ndarray, numbers: np.ndarray, gallery: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(RESAMPLES,) means when galleries, and people of each, are drawn again. totals, numbers: (p,) a person's sum and
    count. gallery: (p,) where the person is."""
    members = [np.flatnonzero(gallery == g) for g in range(gallery.max() + 1)]
    if len(members) == 1:
        drawn = rng.integers(len(totals), size=(RESAMPLES, len(totals)))
        return totals[drawn].sum(1) / numbers[drawn].sum(1)
    means = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        chosen = [members[g] for g in rng.integers(len(members), size=len(members))]
        drawn = np.concatenate([one[rng.integers(len(one), size=len(one))] for one in chosen])
        means[i] = totals[drawn].sum() / numbers[drawn].sum()
    return means


def retrieved(similarity: np.ndarray, own: np.ndarray, k: int = 1) -> np.ndarray:
    """(n,) 1.0 where the right person is among the k most similar. similarity: (n, people). own: (n,) the right column.

    Ties count against the right person.
    """
    right = similarity[np.arange(len(own)), own]
    better = (similarity >= right[:, None]).sum(1) - 1
    return (better < k).astype(np.float64)


def own_and_other(similarity: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) similarity to the right person, and (n,) the mean similarity to the others."""
    right = similarity[np.arange(len(own)), own]
    return right, (similarity.sum(1) - right) / (similarity.shape[1] - 1)


def verification_auc(similarity: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(n,) per picture: the share of other people that are less similar than the right one (ties count half).

    The mean is an area under the ROC curve: every picture has as many others.
    """
    right = similarity[np.arange(len(own)), own][:, None]
    below = (similarity < right).sum(1) + 0.5 * ((similarity == right).sum(1) - 1)
    return below / (similarity.shape[1] - 1)


def psnr(pictures: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) decibels between two (n, h, w, 3) uint8 arrays; 100 for equal pictures."""
    error = np.square(pictures.astype(np.float64) - others).mean((1, 2, 3))
    return 10 * np.log10(255.0**2 / np.maximum(error, 255.0**2 * 1e-10))


def change_outside(pictures: np.ndarray, others: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(n,) mean absolute difference (0..255) of two (n, h, w, 3) uint8 arrays where `inside` (n, h, w) bool is False.

    NaN where everything is inside.
    """
    difference = np.abs(pictures.astype(np.float64) - others).mean(-1)
    outside = ~inside
    with np.errstate(invalid="ignore"):
        return (difference * outside).sum((1, 2)) / outside.sum((1, 2))

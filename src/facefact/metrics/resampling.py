"""Intervals over people, galleries and training seeds together; differences that are paired; and thirds of skin tone.

A figure of several trainings is crossed: every training (seed) painted the same people of the same galleries. Each
resample draws trainings, galleries, and people within galleries, with replacement; a picture counts as often as all
three of its were drawn. With one training and one gallery it is the bootstrap over people of `scores.figure`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facefact.metrics.scores import RESAMPLES, Figure

THIRDS = {"light": (-1.0, -1 / 3), "mid": (-1 / 3, 1 / 3), "dark": (1 / 3, 1.0)}  # of the factor `skin_tone`
CHUNK = 100  # resamples at once


@dataclass(frozen=True)
class Pictures:
    """Where (n,) samples come from. people: whose picture, within the gallery. galleries: the set of people; trainings:
    the training seed of the method (None: one)."""

    people: np.ndarray
    galleries: np.ndarray | None = None
    trainings: np.ndarray | None = None

    def at(self, where: np.ndarray | slice) -> Pictures:
        """(n,) bool, indices or a slice -> those alone."""
        parts = (None if one is None else one[where] for one in (self.galleries, self.trainings))
        return Pictures(self.people[where], *parts)


def pooled(samples: np.ndarray, of: Pictures, *, over: np.ndarray | None = None, seed: int = 0) -> Figure:
    """The mean of (n,) samples, or its ratio to the mean of `over` (n,); NaN ones do not count. A difference of two
    methods that is paired is `pooled(one - other, of)`. ValueError when no sample counts."""
    samples = np.asarray(samples, np.float64)
    under = np.ones(len(samples)) if over is None else np.asarray(over, np.float64)
    counts = np.isfinite(samples) & np.isfinite(under)
    if not counts.any():
        raise ValueError("no sample counts for this figure")
    drawn = _ratios(samples[counts], under[counts], of.at(counts), np.random.default_rng(seed))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    value = samples[counts].sum() / under[counts].sum()
    return Figure(float(value), float(low), float(high), int(counts.sum()))


def _ratios(samples: np.ndarray, under: np.ndarray, of: Pictures, rng: np.random.Generator) -> np.ndarray:
    """(RESAMPLES,)."""
    found = []
    for _ in range(0, RESAMPLES, CHUNK):
        times = weights(of, CHUNK, rng)
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append((times @ samples) / (times @ under))
    return np.concatenate(found)


def weights(of: Pictures, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws, n): how often each sample is there when trainings, galleries and people are drawn again."""
    n = len(of.people)
    galleries = np.zeros(n, int) if of.galleries is None else np.unique(of.galleries, return_inverse=True)[1]
    _, person = np.unique(np.stack([galleries, of.people]), axis=1, return_inverse=True)
    person = person.reshape(-1)
    home = np.zeros(person.max() + 1, int)
    home[person] = galleries
    times = np.empty((draws, len(home)))
    for gallery in range(galleries.max() + 1):
        there = np.flatnonzero(home == gallery)
        times[:, there] = counts(len(there), draws, rng)
    if galleries.max():
        times *= counts(int(galleries.max()) + 1, draws, rng)[:, home]
    found = times[:, person]
    if of.trainings is not None:
        training = np.unique(of.trainings, return_inverse=True)[1]
        if training.max():
            found = found * counts(int(training.max()) + 1, draws, rng)[:, training]
    return found


def counts(things: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws, things): how often each is there among as many, drawn with replacement."""
    return rng.multinomial(things, np.full(things, 1 / things), size=draws).astype(np.float64)


def by_third(samples: np.ndarray, tone: np.ndarray, of: Pictures, *, seed: int = 0) -> dict[str, Figure]:
    """light, mid, dark: the mean of (n,) samples in each third of (n,) skin tones, of those that have any; apart: the
    dark third's mean less the light one's."""
    found, parts = {}, {}
    for name, (low, high) in THIRDS.items():
        there = (tone >= low) & (tone <= high) & np.isfinite(samples)
        if there.any():
            parts[name] = there
            found[name] = pooled(samples[there], of.at(there), seed=seed)
    if {"light", "dark"} <= set(parts):
        rng = np.random.default_rng(seed)  # thirds hold other people: they are drawn apart
        light, dark = (
            _ratios(samples[parts[name]], np.ones(parts[name].sum()), of.at(parts[name]), rng)
            for name in ("light", "dark")
        )
        low, high = np.nanpercentile(dark - light, [2.5, 97.5])
        value = found["dark"].value - found["light"].value
        found["apart"] = Figure(value, float(low), float(high), found["dark"].n + found["light"].n)
    return found

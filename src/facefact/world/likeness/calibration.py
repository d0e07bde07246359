"""From measures of a photo to factors of the world: by how people and photos differ in each.

calibration.json was fitted by `facefact eval avatar` on 360 press photos of 60 people (LFW: Huang, Ramesh, Berg,
Learned-Miller 2007), once for what MediaPipe's mesh tells and once for what five points do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from facefact.world.likeness.shape import BENDS

FILE = Path(__file__).parent / "calibration.json"
RIDGE = 0.05  # of the bends' own squares, added when the slopes are fitted: bends that hardly occur get small ones


@dataclass(frozen=True)
class Scale:
    """How one measure is distributed over photos. bends: (len(BENDS),) slopes, taken out first: the measure of one
    person changes by so much with each. mean, spread: of what is left. agreement: which share of its variance is
    between people (intraclass correlation), the rest is between photos of one."""

    mean: float
    spread: float
    agreement: float
    bends: tuple[float, ...]

    def straightened(self, measure: float, bends: np.ndarray) -> float:
        """The measure as it would be from the front, with the mouth closed and at rest."""
        return measure - float(np.dot(self.bends, bends))

    def factor(self, straightened: float) -> float:
        """In [-1, 1]: the measure's quantile among people (a normal distribution), drawn to the middle the more, the
        less two photos of one person agree. The world's own factors are uniform."""
        z = (straightened - self.mean) / self.spread
        return math.sqrt(max(0.0, self.agreement)) * math.erf(z / math.sqrt(2))


Calibration = Mapping[str, Scale]  # by measure


@cache
def calibration(kind: str) -> Calibration:
    """The one that ships with the package. kind: "mesh" or "points"."""
    told = json.loads(FILE.read_text(encoding="utf-8"))[kind]
    return {
        name: Scale(one["mean"], one["spread"], one["agreement"], tuple(one["bends"])) for name, one in told.items()
    }


def fit(measures: Mapping[str, np.ndarray], bends: np.ndarray, people: np.ndarray) -> dict[str, Scale]:
    """measures: (n,) of n photos by name, NaN where not seen. bends: (n, len(BENDS)). people: (n,) whom each shows.

    The slopes are fitted within people (every person's own mean is taken out of both), so that what makes people
    differ is not taken for a bend."""
    return {name: _scale(values, bends, people) for name, values in measures.items()}


def _scale(values: np.ndarray, bends: np.ndarray, people: np.ndarray) -> Scale:
    seen = np.isfinite(values)
    values, bends, people = values[seen], bends[seen], np.unique(people[seen], return_inverse=True)[1]
    within = _without_means(bends, people)
    squares = within.T @ within
    ridge = RIDGE * np.diag(np.diag(squares)) + 1e-9 * np.eye(len(BENDS))
    slopes = np.linalg.solve(squares + ridge, within.T @ _without_means(values[:, None], people)[:, 0])
    straight = values - bends @ slopes
    return Scale(float(straight.mean()), float(straight.std()), agreement(straight, people), tuple(slopes.tolist()))


def _without_means(values: np.ndarray, people: np.ndarray) -> np.ndarray:
    """(n, k) less the mean of each person."""
    counts = np.bincount(people)
    means = np.stack([np.bincount(people, column) / counts for column in values.T], 1)
    return values - means[people]


def agreement(values: np.ndarray, people: np.ndarray) -> float:
    """The intraclass correlation of (n,) values, people (n,) from 0 on: one-way analysis of variance (Shrout and Fleiss
    1979, case 1)."""
    counts = np.bincount(people)
    means = np.bincount(people, values) / counts
    between = float((counts * (means - values.mean()) ** 2).sum() / (len(counts) - 1))
    inside = float(((values - means[people]) ** 2).sum() / (len(values) - len(counts)))
    return (between - inside) / (between + (counts.mean() - 1) * inside)


def as_json(one: Mapping[str, Scale]) -> dict[str, Any]:
    """What `calibration` reads."""
    return {
        name: {
            "mean": round(scale.mean, 5),
            "spread": round(scale.spread, 5),
            "agreement": round(scale.agreement, 3),
            "bends": [round(slope, 6) for slope in scale.bends],
        }
        for name, scale in one.items()
    }

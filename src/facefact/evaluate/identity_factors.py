"""Who a picture shows, factor by factor: skin, eye colour and shape of the face, read back from the pixels.

The world knows the numbers that make a person. A reader fitted on renders of other people says which ones a picture
shows; its error on the adapter's pictures over that on renders of the same people in the same looks is 1 where the
pictures show the person as exactly as a render does. Skin and eye colour are read from few pixels of the aligned face
(the cheeks and the nose; both eyes), the shape from the judge's embedding. Of the shape those factors count that can
be read off renders at all (R^2 of 0.5 and more on renders of unseen people; height, jaw and chin cannot).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from facefact.evaluate.judges import Judges
from facefact.evaluate.protocol import Case
from facefact.faces import TEMPLATE
from facefact.world import IDENTITY, Look, Person, look, person, render, training_seed

GROUPS: Mapping[str, tuple[str, ...]] = {
    "skin": ("skin_tone", "skin_hue"),
    "eye_colour": ("iris",),
    "shape": ("face_width", "eye_spacing", "eye_size", "nose_length", "mouth_width"),
}
SKIN = ((34, 72), (78, 72), (56, 80), (56, 60))  # x, y in the aligned face: both cheeks, under the nose, its bridge
MOST = 1.0  # the error where no face is found: a half of a factor's range, that of one who always says the farther end
FIT_SEED = 9107


@dataclass(frozen=True)
class KernelRidge:
    """Kernel ridge regression with a Gaussian kernel as wide as the data. known: (m, d) standardised inputs; weights:
    (m, k)."""

    mean: np.ndarray
    spread: np.ndarray
    centre: np.ndarray
    known: np.ndarray
    weights: np.ndarray
    width: float

    @classmethod
    def fit(cls, inputs: np.ndarray, answers: np.ndarray, *, stiffness: float = 0.03) -> KernelRidge:
        """inputs: (m, d); answers: (m, k). stiffness: weight of the penalty, per sample."""
        mean, spread = inputs.mean(0), inputs.std(0) + 1e-6
        known, centre = (inputs - mean) / spread, answers.mean(0)
        width = 2 * inputs.shape[1] ** 0.5
        kernel = gaussian(known, known, width)
        weights = np.linalg.solve(kernel + stiffness * np.eye(len(known)), answers - centre)
        return cls(mean, spread, centre, known, weights, width)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, k)."""
        return gaussian((inputs - self.mean) / self.spread, self.known, self.width) @ self.weights + self.centre


def gaussian(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """(n, m): exp(-|a - b|^2 / (2 width^2))."""
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.exp(-np.maximum(squared, 0) / (2 * width**2))


@dataclass(frozen=True)
class FactorReader:
    """readers: one for each of `GROUPS`."""

    readers: Mapping[str, KernelRidge]

    @classmethod
    def fit(cls, judges: Judges, *, people: int = 500, seed: int = FIT_SEED) -> FactorReader:
        """On one render each of so many people from the seeds of trainings, of whom no evaluation has any; always the
        same ones. Takes some seconds."""
        rng = np.random.default_rng((seed, 5))
        pairs = [(person(training_seed(rng)), look(training_seed(rng))) for _ in range(people)]
        views = np.stack([judges.view(render(who, shown).image) for who, shown in pairs])
        truth = np.stack([who.factors for who, _ in pairs])
        seen = inputs_of(views, judges.embed_views(views))
        found = views.any((1, 2, 3))
        readers = {}
        for name, factors in GROUPS.items():
            there = found & np.array([shows(shown, name) for _, shown in pairs])
            readers[name] = KernelRidge.fit(seen[name][there], truth[there][:, places(factors)])
        return cls(readers)

    def errors(
        self, views: np.ndarray, embeddings: np.ndarray, cases: Sequence[Case], people: Sequence[Person]
    ) -> dict[str, np.ndarray]:
        """By group (n,): the mean distance of what is read to the person's own factors, which run from -1 to 1; NaN
        where the look hides it. views: (n, 112, 112, 3), black where no face was found; embeddings: (n, d), both of
        the judges."""
        seen, found = inputs_of(views, embeddings), views.any((1, 2, 3))
        truth = np.stack([people[case.own].factors for case in cases])
        errors = {}
        for name, factors in GROUPS.items():
            read = np.clip(self.readers[name](seen[name]), -1, 1)
            apart = np.abs(read - truth[:, places(factors)]).mean(1)
            visible = np.array([shows(case.wanted, name) for case in cases])
            errors[name] = np.where(visible, np.where(found, apart, MOST), np.nan)
        return errors


def places(factors: Sequence[str]) -> list[int]:
    return [IDENTITY.index(name) for name in factors]


def shows(shown: Look, group: str) -> bool:
    return group != "eye_colour" or shown["glasses"] != "sun"


def inputs_of(views: np.ndarray, embeddings: np.ndarray) -> dict[str, np.ndarray]:
    """What each group is read from, (n, d)."""
    pixels = views.astype(np.float64) / 255
    eyes = [_around(pixels, round(x), round(y), 6).reshape(len(views), -1) for x, y in TEMPLATE[:2].tolist()]
    skin = [_around(pixels, x, y, 3).mean((1, 2)) for x, y in SKIN]
    return {
        "skin": np.concatenate(skin, 1),
        "eye_colour": np.concatenate(eyes, 1),
        "shape": np.asarray(embeddings, np.float64),
    }


def _around(pixels: np.ndarray, x: int, y: int, reach: int) -> np.ndarray:
    """(n, 2 reach, 2 reach, 3) of (n, h, w, 3)."""
    return pixels[:, y - reach : y + reach, x - reach : x + reach]

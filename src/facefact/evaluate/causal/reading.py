"""All factors of a picture, read: the person's numbers, and how likely each value of the look is.

The person's 22 numbers are regressed (kernel ridge) on the face as the avatar detector finds and the template aligns
it: colours of the whole face, of the eyes and of its lower half, and edges. Which of these a factor is read from is
chosen by leave-one-out errors on renders of other people; the same errors, as R^2, say how well it can be read at all.
The look is read by the judges' attribute reader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from facefact.evaluate.causal.interventions import bare_look
from facefact.evaluate.identity_factors import gaussian
from facefact.evaluate.judges import Judges
from facefact.faces import align
from facefact.metrics.views import to_pixels
from facefact.world import CHOICES, IDENTITY, Look, person, render, training_seed

FIT_SEED = 4127
PEOPLE = 800  # renders that the reader is fitted on
READABLE = 0.4  # R^2 from which a factor counts as one that can be read
WIDTHS, STIFFNESS = (1.0, 2.0), (0.003, 0.03)  # of the kernel, in typical distances of the data; per sample
# Parts of the aligned face: columns, rows, and the (width, height) that they are shrunk to.
PARTS = {
    "whole": ((0, 112), (0, 112), (28, 28)),
    "eyes": ((22, 90), (30, 66), (34, 18)),
    "lower": ((30, 82), (55, 112), (26, 28)),
}
EDGES = 22  # cells of a side in which edges are counted
BATCH = 256


@dataclass(frozen=True)
class Ridge:
    """Kernel ridge regression of one factor. known: (m, d), centred and scaled. weights: (m,)."""

    part: str
    mean: np.ndarray
    scale: float
    known: np.ndarray
    weights: np.ndarray
    centre: float
    width: float
    score: float

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """(n, d) -> (n,)."""
        return gaussian((inputs - self.mean) / self.scale, self.known, self.width) @ self.weights + self.centre


@dataclass(frozen=True)
class Reading:
    """What n pictures show. identity: (n, len(IDENTITY)) in [-1, 1], NaN where no face is found. look: by factor
    (n, values) probabilities."""

    identity: np.ndarray
    look: Mapping[str, np.ndarray]

    @property
    def faceless(self) -> np.ndarray:
        """(n,) bool: where no face was found."""
        return np.isnan(self.identity[:, 0])


@dataclass(frozen=True)
class Reader:
    """ridges: one for each of `IDENTITY`."""

    judges: Judges
    ridges: tuple[Ridge, ...]

    @classmethod
    def fit(
        cls,
        judges: Judges,
        *,
        people: int = PEOPLE,
        seed: int = FIT_SEED,
        looks: Callable[[int], Look] = bare_look,
    ) -> Reader:
        """On one render each of so many people from the seeds of trainings, bare as the subjects are. looks: a seed ->
        the look of a render, for other pictures."""
        rng = np.random.default_rng((seed, 6))
        who = [person(training_seed(rng)) for _ in range(people)]
        faces = [aligned(judges, render(one, looks(training_seed(rng))).image) for one in who]
        found = [i for i, face in enumerate(faces) if face is not None]
        truth = np.stack([who[i].factors for i in found])
        inputs = inputs_of(np.stack([face for face in faces if face is not None]))
        best: list[Ridge | None] = [None] * len(IDENTITY)
        for part, given in inputs.items():
            for ridge, place in candidates(part, given, truth):
                present = best[place]
                if present is None or ridge.score > present.score:
                    best[place] = ridge
        return cls(judges, tuple(one for one in best if one is not None))

    @property
    def scores(self) -> dict[str, float]:
        """By identity factor: R^2, leave-one-out, on the renders that it was fitted on."""
        return {name: one.score for name, one in zip(IDENTITY, self.ridges, strict=True)}

    @property
    def readable(self) -> np.ndarray:
        """(len(IDENTITY),) bool."""
        return np.array([one.score >= READABLE for one in self.ridges])

    def read(self, pictures: Sequence[np.ndarray]) -> Reading:
        """pictures: (h, w, 3) uint8 each, of any size."""
        faces = [aligned(self.judges, picture) for picture in pictures]
        found = [i for i, face in enumerate(faces) if face is not None]
        identity = np.full((len(faces), len(IDENTITY)), np.nan)
        if found:
            inputs = inputs_of(np.stack([face for face in faces if face is not None]))
            said = np.stack([ridge(inputs[ridge.part]) for ridge in self.ridges], 1)
            identity[found] = np.clip(said, -1.5, 1.5)
        return Reading(identity, look_of(self.judges, pictures))


def aligned(judges: Judges, picture: np.ndarray) -> np.ndarray | None:
    """(112, 112, 3) uint8: the largest face, aligned; None where there is none."""
    found = judges.detector.detect(picture)[:1]
    return align(picture, found[0].landmarks)[0] if found else None


def inputs_of(faces: np.ndarray) -> dict[str, np.ndarray]:
    """(n, 112, 112, 3) uint8 -> by part (n, d) float64; "all": all parts together, each as heavy as the others."""
    pixels = faces.astype(np.float32) / 255
    found = {}
    for name, ((left, right), (top, bottom), size) in PARTS.items():
        cut = [cv2.resize(one[top:bottom, left:right], size, interpolation=cv2.INTER_AREA) for one in pixels]
        found[name] = np.stack(cut).reshape(len(faces), -1).astype(np.float64)
    found["edges"] = np.stack([edges(one) for one in pixels]).astype(np.float64)
    together = [3 * part / part.shape[1] ** 0.5 * (4 if name == "edges" else 1) for name, part in found.items()]
    return found | {"all": np.concatenate(together, 1)}


def edges(face: np.ndarray) -> np.ndarray:
    """(112, 112, 3) float -> (d,): how much grows and falls, along x and y, in each cell."""
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    steep = (cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    parts = [np.maximum(sign * one, 0) for one in steep for sign in (1, -1)]
    return np.concatenate([cv2.resize(one, (EDGES, EDGES), interpolation=cv2.INTER_AREA).ravel() for one in parts])


def candidates(part: str, inputs: np.ndarray, truth: np.ndarray) -> list[tuple[Ridge, int]]:
    """For each factor the best regression on these (m, d) inputs, and its place. truth: (m, k).

    Leave-one-out residuals of ridge regression in closed form: (K + s I)^-1 y over the diagonal of (K + s I)^-1.
    """
    mean = inputs.mean(0)
    scale = float(np.sqrt(((inputs - mean) ** 2).sum(1).mean()))
    known, centre = (inputs - mean) / scale, truth.mean(0)
    best: list[Ridge | None] = [None] * truth.shape[1]
    for width in WIDTHS:
        values, vectors = np.linalg.eigh(gaussian(known, known, width))
        for stiffness in STIFFNESS:
            inverse = vectors / (np.maximum(values, 0) + stiffness) @ vectors.T
            weights = inverse @ (truth - centre)
            missed = ((weights / np.diag(inverse)[:, None]) ** 2).mean(0)
            scores = 1 - missed / truth.var(0)
            for k, score in enumerate(scores):
                present = best[k]
                if present is None or score > present.score:
                    best[k] = Ridge(part, mean, scale, known, weights[:, k], float(centre[k]), width, float(score))
    return [(one, k) for k, one in enumerate(best) if one is not None]


@torch.no_grad()
def look_of(judges: Judges, pictures: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """By factor of the look (n, values) probabilities, as the attribute reader gives them."""
    size = judges.reader.config.size
    shown = [one if one.shape[:2] == (size, size) else resized(one, size) for one in pictures]
    parts = [
        judges.reader(torch.stack([to_pixels(one) for one in shown[i : i + BATCH]]))
        for i in range(0, len(shown), BATCH)
    ]
    return {name: torch.cat([part[name].softmax(-1) for part in parts]).double().numpy() for name in CHOICES}


def resized(picture: np.ndarray, size: int) -> np.ndarray:
    """(h, w, 3) -> (size, size, 3)."""
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)

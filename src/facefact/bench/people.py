"""How right the people of the preparation are, measured on faces of which it is known whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facefact.data.clusters import average_linkage, pairwise
from facefact.data.people import unlike
from facefact.data.records import Entry
from facefact.metrics.scores import RESAMPLES, Figure, figure
from facefact.metrics.verification import all_pairs, roc_figures

DISTANCES = np.round(np.arange(0.2, 1.41, 0.01), 2)  # of which `held_out` chooses
SPLITS, DRAWS = 10, 10
MOST_HELD_OUT = 2000  # pictures: choosing distances again on 20 halves takes minutes there


@dataclass(frozen=True)
class LabelledFaces:
    """embeddings: (n, d) unit vectors. people: (n,) whose, as an integer from 0 on."""

    embeddings: np.ndarray
    people: np.ndarray


def person_numbers(entries: Sequence[Entry]) -> np.ndarray:
    """(n,) the person of each, as an integer from 0 on."""
    return np.unique([str(entry.person) for entry in entries], return_inverse=True)[1]


def figures(faces: LabelledFaces, groups: np.ndarray, *, outlier: float, seed: int = 0) -> dict[str, Figure]:
    """All with 95 % intervals over people. groups: (n,) which faces are put together as one person. outlier: distance.

    precision, recall: of pairs of pictures; n: pairs put together, pairs of one person. auc: of telling pairs of one
    person from others. held_out_precision, held_out_recall, held_out_distance: with the distance that is best for half
    of the people, measured on the other half, 20 halves (up to MOST_HELD_OUT pictures).
    own_rejected: share of the pictures in clean folders that `unlike` calls strangers at the distance `outlier`.
    intruders_missed: share of the strangers that it does not see, one in a folder. crowd_missed: the same where all
    strangers are one other person, with one picture less than the folder's own.
    """
    people = faces.people
    found = pair_figures(groups, people, seed=seed) | intruders(faces, outlier, seed=seed)
    if people.max() + 1 < len(people):  # somebody has two pictures
        found |= roc_figures(all_pairs(faces.embeddings, people), {"auc": lambda curve: curve.auc}, seed=seed)
    if len(people) <= MOST_HELD_OUT:
        found |= held_out(faces, seed=seed)
    return found


def pair_figures(groups: np.ndarray, people: np.ndarray, *, seed: int = 0) -> dict[str, Figure]:
    """Pairwise precision and recall. groups, people: (n,) integers from 0 on. n: pairs put together, of one person."""
    rng, number = np.random.default_rng(seed), int(people.max()) + 1
    counts = [np.bincount(rng.integers(number, size=number), minlength=number) for _ in range(RESAMPLES)]
    drawn = np.array([pairwise(groups, people, times) for times in counts])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    pairs = [int((n * (n - 1) // 2).sum()) for n in (np.bincount(groups), np.bincount(people))]
    names, whole = ("precision", "recall"), pairwise(groups, people)
    return {name: Figure(whole[i], float(low[i]), float(high[i]), pairs[i]) for i, name in enumerate(names)}


def held_out(faces: LabelledFaces, *, seed: int = 0) -> dict[str, Figure]:
    """See `figures`. n: halves measured; the interval is the range over them."""
    rng, number, found = np.random.default_rng(seed), int(faces.people.max()) + 1, []
    for _ in range(SPLITS):
        first = np.isin(faces.people, rng.permutation(number)[: number // 2])
        for chosen_on, measured_on in ((first, ~first), (~first, first)):
            distance = best_distance(faces.embeddings[chosen_on], faces.people[chosen_on])
            labels = average_linkage(faces.embeddings[measured_on], distance)
            found.append((*pairwise(labels, faces.people[measured_on]), distance))
    names = ("held_out_precision", "held_out_recall", "held_out_distance")
    return {
        name: Figure(float(np.mean(values)), float(min(values)), float(max(values)), len(values))
        for name, values in zip(names, zip(*found, strict=True), strict=True)
    }


def best_distance(embeddings: np.ndarray, people: np.ndarray) -> float:
    """(n, d) unit vectors, (n,) whose -> that of DISTANCES with the highest F1 score of pairs; of equals the middle."""
    scores = []
    for distance in DISTANCES:
        precision, recall = pairwise(average_linkage(embeddings, distance), people)
        scores.append(2 * precision * recall / max(precision + recall, 1e-9))
    return float(DISTANCES[np.isclose(scores, max(scores))].mean())


def intruders(faces: LabelledFaces, outlier: float, *, seed: int = 0) -> dict[str, Figure]:
    """See `figures`; strangers are drawn `DRAWS` times for each person with three pictures or more."""
    rng, number = np.random.default_rng(seed), int(faces.people.max()) + 1
    told: dict[str, list[tuple[int, bool]]] = {"own_rejected": [], "intruders_missed": [], "crowd_missed": []}
    for person in np.flatnonzero(np.bincount(faces.people) > 2).tolist():
        own = faces.embeddings[faces.people == person]
        told["own_rejected"] += [(person, far > 0) for far in unlike(own, outlier)]
        for _ in range(DRAWS):
            somebody = (person + rng.integers(1, number)) % number
            other = rng.permutation(faces.embeddings[faces.people == somebody])
            for name, strangers in (("intruders_missed", other[:1]), ("crowd_missed", other[: len(own) - 1])):
                apart = unlike(np.concatenate([own, strangers]), outlier)[len(own) :]
                told[name] += [(person, far == 0) for far in apart]
    return {
        name: figure(np.array([one for _, one in pairs]), np.array([person for person, _ in pairs]), seed=seed)
        for name, pairs in told.items()
        if pairs
    }

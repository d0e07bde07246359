"""How right the people of the preparation are, measured on photos of which it is known who they show.

detector, recogniser = get_detector("yunet", model=...), open_recogniser(PeopleSettings())
album = embedded(Path("lfw_small"), detector=detector, recogniser=recogniser)
figures(album, outlier=recogniser.outlier, cluster=recogniser.cluster)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facefact.data.clusters import average_linkage, pairwise
from facefact.data.people import unlike
from facefact.data.recognisers import Recogniser
from facefact.faces import Detector, open_picture
from facefact.faces.picture import SUFFIXES
from facefact.metrics.scores import RESAMPLES, Figure, figure
from facefact.metrics.verification import all_pairs, roc_figures
from facefact.types import Face, UserError

DISTANCES = np.round(np.arange(0.2, 1.41, 0.01), 2)  # of which `held_out` chooses
SPLITS, DRAWS = 10, 10


@dataclass(frozen=True)
class Album:
    """embeddings: (n, d) unit vectors. people: (n,) whose, from 0 on. skipped: files in which no face was found."""

    embeddings: np.ndarray
    people: np.ndarray
    skipped: tuple[str, ...] = ()


def embedded(folder: Path, *, detector: Detector, recogniser: Recogniser) -> Album:
    """A folder of folders of photos, one for each person (LFW). Of several faces the one nearest to the middle counts,
    as LFW has it. UserError: there are not two people."""
    vectors, names, skipped = [], [], []
    for path in sorted(path for path in folder.glob("*/*") if path.suffix[1:].lower() in SUFFIXES):
        pixels = open_picture(path)
        faces = sorted(detector.detect(pixels), key=lambda face: _off_centre(face, pixels))
        if not faces:
            skipped.append(str(path))
            continue
        vectors.append(recogniser.embed(pixels, faces[0]))
        names.append(path.parent.name)
    if len(set(names)) < 2:
        raise UserError(f"{folder}: faces of two people are needed, as {folder}/NAME/PICTURE.jpg")
    return Album(np.stack(vectors), np.unique(names, return_inverse=True)[1], tuple(skipped))


def _off_centre(face: Face, pixels: np.ndarray) -> float:
    x0, y0, x1, y1 = face.box
    return float(np.hypot((x0 + x1 - pixels.shape[1]) / 2, (y0 + y1 - pixels.shape[0]) / 2))


def figures(album: Album, *, outlier: float, cluster: float, seed: int = 0) -> dict[str, Figure]:
    """All with 95 % intervals over people.

    auc: of telling pairs of one person from others. precision, recall: of the pairs that `average_linkage` puts
    together at the distance `cluster`, without the folders' names. held_out_precision, held_out_recall,
    held_out_distance: the same at the distance that is best for half of the people, measured on the other half.
    own_rejected: share of the pictures in clean folders that `unlike` calls strangers at the distance `outlier`.
    intruders_missed: share of the strangers that it does not see, one in a folder. crowd_missed: the same where all
    strangers are one other person, with one picture less than the folder's own.
    """
    labels = average_linkage(album.embeddings, cluster)
    auc = roc_figures(all_pairs(album.embeddings, album.people), {"auc": lambda curve: curve.auc}, seed=seed)
    return {
        **auc,
        **pair_figures(labels, album.people, seed=seed),
        **held_out(album, seed=seed),
        **intruders(album, outlier, seed=seed),
    }


def pair_figures(labels: np.ndarray, people: np.ndarray, *, seed: int = 0) -> dict[str, Figure]:
    """Pairwise precision and recall of groups. n: pairs put together; pairs of one person."""
    rng, number = np.random.default_rng(seed), int(people.max()) + 1
    counts = [np.bincount(rng.integers(number, size=number), minlength=number) for _ in range(RESAMPLES)]
    drawn = np.array([pairwise(labels, people, times) for times in counts])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    pairs = [int((n * (n - 1) // 2).sum()) for n in (np.bincount(labels), np.bincount(people))]
    names, whole = ("precision", "recall"), pairwise(labels, people)
    return {name: Figure(whole[i], float(low[i]), float(high[i]), pairs[i]) for i, name in enumerate(names)}


def held_out(album: Album, *, seed: int = 0) -> dict[str, Figure]:
    """See `figures`. n: halves measured; the interval is the range over them."""
    rng, number, found = np.random.default_rng(seed), int(album.people.max()) + 1, []
    for _ in range(SPLITS):
        first = np.isin(album.people, rng.permutation(number)[: number // 2])
        for chosen_on, measured_on in ((first, ~first), (~first, first)):
            distance = best_distance(album.embeddings[chosen_on], album.people[chosen_on])
            labels = average_linkage(album.embeddings[measured_on], distance)
            found.append((*pairwise(labels, album.people[measured_on]), distance))
    names = ("held_out_precision", "held_out_recall", "held_out_distance")
    return {
        name: Figure(float(np.mean(values)), float(min(values)), float(max(values)), len(values))
        for name, values in zip(names, zip(*found, strict=True), strict=True)
    }


def best_distance(embeddings: np.ndarray, people: np.ndarray) -> float:
    """Of DISTANCES the one with the highest F1 score of pairs; the middle of equal ones."""
    scores = []
    for distance in DISTANCES:
        precision, recall = pairwise(average_linkage(embeddings, distance), people)
        scores.append(2 * precision * recall / max(precision + recall, 1e-9))
    return float(DISTANCES[np.isclose(scores, max(scores))].mean())


def intruders(album: Album, outlier: float, *, seed: int = 0) -> dict[str, Figure]:
    """See `figures`; strangers are drawn `DRAWS` times for each person with three pictures or more."""
    rng, number = np.random.default_rng(seed), int(album.people.max()) + 1
    told: dict[str, list[tuple[int, bool]]] = {"own_rejected": [], "intruders_missed": [], "crowd_missed": []}
    for person in np.flatnonzero(np.bincount(album.people) > 2).tolist():
        own = album.embeddings[album.people == person]
        told["own_rejected"] += [(person, far > 0) for far in unlike(own, outlier)]
        for _ in range(DRAWS):
            somebody = (person + rng.integers(1, number)) % number
            other = rng.permutation(album.embeddings[album.people == somebody])
            for name, strangers in (("intruders_missed", other[:1]), ("crowd_missed", other[: len(own) - 1])):
                apart = unlike(np.concatenate([own, strangers]), outlier)[len(own) :]
                told[name] += [(person, far == 0) for far in apart]
    return {
        name: figure(np.array([one for _, one in pairs]), np.array([person for person, _ in pairs]), seed=seed)
        for name, pairs in told.items()
        if pairs
    }

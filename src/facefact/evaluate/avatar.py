"""`facefact eval avatar`: whether the avatar that is drawn from a photo is that person's, on folders of photos.

People are split in two halves. What one half's photos need (scales, slopes, weights) is fitted on the other half's, so
that every figure is of people whom the fit has not seen; every interval is over people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facefact.evaluate.pictures import Progress
from facefact.faces import Detector, checked_face, open_picture
from facefact.faces.files import is_nothing, is_picture
from facefact.metrics.scores import figure
from facefact.metrics.verification import Pairs, roc_figures
from facefact.types import Face, UserError
from facefact.world.face import skin_colour
from facefact.world.factors import IDENTITY, Person
from facefact.world.likeness import look_at
from facefact.world.likeness.calibration import Calibration, fit
from facefact.world.likeness.colours import lab
from facefact.world.likeness.estimate import Measured, factors_of, measured
from facefact.world.likeness.worn import worn_in

FEWEST = 8  # people of a half: fewer give no spread to speak of
SKINS = {"light": (65.0, 101.0), "middle": (50.0, 65.0), "dark": (-1.0, 50.0)}  # L* of the cheeks in the photo


@dataclass(frozen=True)
class Photos:
    """told: what each photo tells. people: (n,) whom it shows, from 0 on. worn: choices by photo. skipped: why."""

    told: list[Measured]
    people: np.ndarray
    worn: list[dict[str, str]]
    skipped: tuple[str, ...] = ()


def read_photos(directory: Path, *, detector: Detector, progress: Progress | None = None) -> Photos:
    """A folder for each person; of each photo the face nearest to its middle, as LFW means it. Photos without a usable
    face are skipped."""
    if not directory.is_dir():
        raise UserError(f"{directory} is no folder: give one that holds a folder of photos for each person")
    files = [
        path
        for path in sorted(directory.glob("*/*"))
        if path.is_file() and is_picture(path.name) and not is_nothing(path.name)
    ]
    told, owners, worn, skipped = [], [], [], []
    for done, path in enumerate(files, 1):
        try:
            picture = open_picture(path)
            faces = sorted(detector.detect(picture), key=lambda face: _off_middle(face, picture))
            sight = look_at(picture, checked_face(faces), detector)
        except UserError as error:
            skipped.append(f"{path.name}: {error}")
            continue
        told.append(measured(sight))
        worn.append(worn_in(sight, told[-1].colours).choices)
        owners.append(path.parent.name)
        if progress:
            progress("photos", done, len(files))
    counts = Counter(owners)
    if len(counts) < 2 * FEWEST or sum(count > 1 for count in counts.values()) < FEWEST:
        raise UserError(
            f"{directory} has usable photos of {len(counts)} people; {2 * FEWEST} are needed, most of them with several"
        )
    return Photos(told, np.unique(owners, return_inverse=True)[1], worn, tuple(skipped))


def _off_middle(face: Face, picture: np.ndarray) -> float:
    """Pixels from the middle of the face's box to that of the (h, w, 3) picture."""
    middle = np.array(face.box).reshape(2, 2).mean(0)
    return float(np.linalg.norm(middle - np.array(picture.shape[1::-1]) / 2))


def fitted(told: Sequence[Measured], people: np.ndarray) -> dict[str, Calibration]:
    """The calibration of these photos, by kind, without kinds that fewer than FEWEST people are seen as: of one photo
    there is no spread. people: (n,)."""
    kinds: dict[str, Calibration] = {}
    for kind in sorted({one.kind for one in told}):
        here = [i for i, one in enumerate(told) if one.kind == kind]
        if len(np.unique(people[here])) < FEWEST:
            continue
        names = sorted({name for i in here for name in told[i].measures})
        table = {name: np.array([told[i].measures.get(name, np.nan) for i in here]) for name in names}
        kinds[kind] = fit(table, np.array([told[i].bends for i in here]), people[here])
    return kinds


def measure(photos: Photos, *, seed: int = 0) -> dict[str, Any]:
    """The figures as JSON values."""
    factors = np.stack([factors_of([one]) for one in photos.told])
    return {
        "photos": len(photos.told),
        "people": len(np.unique(photos.people)),
        "skipped": len(photos.skipped),
        "seen_with": dict(Counter(one.kind for one in photos.told)),
        "unseen_people": told_apart(photos, seed=seed),
        "skin": skin_figures(photos, factors),
        "worn": {
            name: dict(Counter(one.get(name, "not said") for one in photos.worn).most_common())
            for name in ("hair", "hair_colour", "glasses")
        },
    }


def told_apart(photos: Photos, *, seed: int = 0) -> dict[str, Any]:
    """The area under the ROC curve of distances between factors, pairs of one person against pairs of two: `plain`
    (Euclidean, of what is drawn) and `whitened` (by the spread within the people of the other half)."""
    half = np.random.default_rng(seed).permutation(photos.people.max() + 1)[photos.people] % 2
    pairs: dict[str, list[Pairs]] = {"plain": [], "whitened": []}
    for one in (0, 1):
        seen, unseen = np.flatnonzero(half != one), np.flatnonzero(half == one)
        scales = fitted([photos.told[i] for i in seen], photos.people[seen])
        factors = np.stack([factors_of([told], scales) for told in photos.told])
        whitening = within_spread(factors[seen], photos.people[seen])
        for name, seen_as in (("plain", factors), ("whitened", factors @ whitening)):
            pairs[name].append(distances(seen_as[unseen], photos.people[unseen]))
    area = {"auc": lambda roc: roc.auc}
    return {name: roc_figures(_together(parts), area)["auc"].as_json() for name, parts in pairs.items()}


def within_spread(factors: np.ndarray, people: np.ndarray) -> np.ndarray:
    """(k, k) that makes the spread of (n, k) factors within people the same in all directions (shrunk by a fifth
    towards none)."""
    centred = factors - np.stack([factors[people == one].mean(0) for one in people])
    covariance = centred.T @ centred / len(centred)
    mean = np.trace(covariance) / len(covariance)
    return np.linalg.cholesky(np.linalg.inv(0.8 * covariance + 0.2 * mean * np.eye(len(covariance))))


def distances(points: np.ndarray, people: np.ndarray) -> Pairs:
    """All pairs of (n, k) points; the similarity is the negative squared distance."""
    first, second = np.triu_indices(len(points), 1)
    apart = ((points[first] - points[second]) ** 2).sum(1)
    return Pairs(-apart, people[first], people[second])


def _together(parts: Sequence[Pairs]) -> Pairs:
    return Pairs(*(np.concatenate([getattr(one, name) for one in parts]) for name in ("similarity", "first", "second")))


def skin_figures(photos: Photos, factors: np.ndarray) -> dict[str, Any]:
    """CIELAB distance (CIE76) from the avatar's skin to the photo's own cheeks: over all photos, and by how light
    the cheeks are. factors: (n, len(IDENTITY))."""
    assert factors.shape[1] == len(IDENTITY)
    cheeks = np.stack([one.colours.cheeks for one in photos.told])
    drawn = lab(np.array([skin_colour(Person(0, row)) for row in factors]))
    errors = np.linalg.norm(drawn - cheeks, axis=1)
    figures: dict[str, Any] = {"error": figure(errors, photos.people).as_json()}
    for name, (low, high) in SKINS.items():
        here = (cheeks[:, 0] >= low) & (cheeks[:, 0] < high)
        if here.any():
            figures[name] = figure(errors[here], photos.people[here]).as_json()
    return figures

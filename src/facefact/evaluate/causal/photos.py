"""The benchmark on photos: no factor can be changed alone there, so pairs of photos of one person stand for it.

Two photos differ in yaw, in how wide the mouth is, in where the light comes from. Each is the reference of a picture
with the same prompt and seed. How much of the references' difference is found again in the results is a gain: 1, the
method copies it; 0, it takes the person and leaves the moment. All three are measured on both by the same code, from
five landmarks and the aligned face.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facefact.evaluate.causal.generators import Generator, Request
from facefact.evaluate.pictures import Progress
from facefact.faces import Detector, align
from facefact.faces.files import is_nothing, is_picture
from facefact.faces.picture import open_picture
from facefact.markdown import markdown_table
from facefact.metrics.effects import pair_gains
from facefact.types import Face, UserError

SCHEMA = "facefact.causal-photos/1"
FACTORS = ("yaw", "mouth_width", "light_across", "light_down")
UNITS = np.array([20.0, 0.15, 0.2, 0.2])  # a clear difference: degrees, eye distances, shares of the mean lightness
CHEEKS = ((22, 46), (66, 90), (60, 84))  # of the aligned face: columns left and right, rows
FOREHEAD, JAWS = ((34, 78), (26, 44)), (((24, 36), (76, 88)), (86, 100))  # columns, rows; beside the mouth
FEWEST = 8  # pairs: twice as many as factors


@dataclass(frozen=True)
class Pair:
    """Two photos of one person, (h, w, 3) uint8 each. person: an index. apart: (factors,) second less first, in
    `UNITS`."""

    person: int
    first: np.ndarray
    second: np.ndarray
    apart: np.ndarray


def measured(picture: np.ndarray, face: Face) -> np.ndarray:
    """(factors,) of a face in an (h, w, 3) uint8 picture, in `UNITS`: yaw; the mouth's width in distances of the eyes;
    how much lighter the cheek at the picture's right is than the left one, and the forehead than the jaws, in shares of
    their mean."""
    points = face.landmarks.astype(np.float64)
    eyes, mouth = (float(np.linalg.norm(points[b] - points[a])) for a, b in ((0, 1), (3, 4)))
    light = cv2.cvtColor(align(picture, face.landmarks)[0], cv2.COLOR_RGB2LAB)[..., 0].astype(np.float64)
    left, right, rows = CHEEKS
    one, two = (light[slice(*rows), slice(*columns)].mean() for columns in (left, right))
    top = light[slice(*FOREHEAD[1]), slice(*FOREHEAD[0])].mean()
    bottom = np.mean([light[slice(*JAWS[1]), slice(*columns)].mean() for columns in JAWS[0]])
    found = (face.pose.yaw, mouth / max(eyes, 1e-6), share(two, one), share(top, float(bottom)))
    return np.array(found) / UNITS


def share(one: float, other: float) -> float:
    """The difference over the mean; 0 where both are black."""
    return 2 * (one - other) / max(one + other, 1e-6)


def photo_pairs(
    folder: Path, detector: Detector, *, per_person: int = 4, progress: Progress | None = None
) -> list[Pair]:
    """Of each person's photos (a folder each) the pairs that differ most, every photo in one pair at most.

    UserError: no folder, or too few usable pairs.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give one that holds a folder of photos for each person")
    people = sorted(one for one in folder.iterdir() if one.is_dir())
    found: list[Pair] = []
    for number, one in enumerate(people):
        seen = [read for path in sorted(one.iterdir()) if (read := _read(path, detector)) is not None]
        found += most_apart(number, seen)[:per_person]
        if progress:
            progress("photos", number + 1, len(people))
    if len(found) < FEWEST:
        raise UserError(
            f"{folder} has {len(found)} pairs of usable photos of one person; {FEWEST} are needed to tell "
            f"{len(FACTORS)} factors apart: more people with two photos each"
        )
    return found


def _read(path: Path, detector: Detector) -> tuple[np.ndarray, np.ndarray] | None:
    if not is_picture(path.name) or is_nothing(path.name):
        return None
    try:
        picture = open_picture(path)
        faces = detector.detect(picture)
    except UserError:
        return None
    return (picture, measured(picture, faces[0])) if faces else None


def most_apart(person: int, seen: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Pair]:
    """Pairs by falling distance of what is measured, none of a photo that is in one already."""
    values = [value for _, value in seen]
    pairs = [(i, j) for i in range(len(seen)) for j in range(i + 1, len(seen))]
    pairs.sort(key=lambda ij: -float(np.linalg.norm(values[ij[1]] - values[ij[0]])))
    made, used = [], set[int]()
    for i, j in pairs:
        if not {i, j} & used:
            used |= {i, j}
            made.append(Pair(person, seen[i][0], seen[j][0], values[j] - values[i]))
    return made


def measure_photos(
    pairs: Sequence[Pair],
    generators: Sequence[Generator],
    detector: Detector,
    *,
    prompt: str,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """JSON values: of each method the gains, rows the references' factor, columns the results', with intervals over
    people; pairs: those whose both results show a face. A method with fewer than `FEWEST` of them has no gains."""
    methods: dict[str, Any] = {}
    for generator in generators:
        results = []
        for number, pair in enumerate(pairs):
            requests = [Request((shown,), prompt, seed + number) for shown in (pair.first, pair.second)]
            results.append(_apart(list(generator(requests)), detector))
            if progress:
                progress(generator.name, number + 1, len(pairs))
        methods[generator.name] = gains(pairs, results)
    about = {"schema": SCHEMA, "factors": list(FACTORS), "units": UNITS.tolist(), "prompt": prompt, "seed": seed}
    return about | {"people": len({pair.person for pair in pairs}), "pairs": len(pairs), "methods": methods}


def _apart(made: Sequence[np.ndarray], detector: Detector) -> np.ndarray | None:
    values = []
    for picture in made:
        try:
            faces = detector.detect(picture)
        except UserError:  # no avatar, and no detector for photos
            faces = []
        if not faces:
            return None
        values.append(measured(picture, faces[0]))
    return values[1] - values[0]


def gains(pairs: Sequence[Pair], results: Sequence[np.ndarray | None]) -> dict[str, Any]:
    there = [i for i, one in enumerate(results) if one is not None]
    about: dict[str, Any] = {"pairs": len(there), "faceless": round(1 - len(there) / len(pairs), 4)}
    if len(there) < FEWEST:
        return about
    causes = np.stack([pairs[i].apart for i in there])
    people = np.array([pairs[i].person for i in there])
    found = pair_gains(causes, np.stack([one for one in results if one is not None]), people)
    rounded = {name: np.round(getattr(found, name), 4).tolist() for name in ("value", "low", "high")}
    return about | {"matrix": rounded["value"], "low": rounded["low"], "high": rounded["high"]}


def markdown(report: Mapping[str, Any]) -> str:
    """One row a method: what it copies of each factor; in brackets the 95 % intervals."""
    rows = []
    for name, one in report["methods"].items():
        cells = [_copied(one, i) if "matrix" in one else "" for i in range(len(report["factors"]))]
        rows.append([name, *cells, f"{one['faceless']:.2f}"])
    head = ["method", *(name.replace("_", " ") for name in report["factors"]), "no face"]
    return markdown_table(head, rows) + "\n"


def _copied(one: Mapping[str, Any], i: int) -> str:
    return f"{one['matrix'][i][i]:.2f} [{one['low'][i][i]:.2f}, {one['high'][i][i]:.2f}]"

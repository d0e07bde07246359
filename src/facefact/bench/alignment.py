"""Two detectors on one face: how far apart their landmarks are, and the crops that are aligned by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from facefact.bench.people import person_numbers
from facefact.data.decode import decode
from facefact.data.find import find
from facefact.data.prepare_config import PrepareConfig
from facefact.data.records import Entry, Unfit
from facefact.faces import TEMPLATE, Detector, alignment, get_detector
from facefact.faces.align import inverse, transform
from facefact.faces.detector import overlap
from facefact.metrics.scores import figure
from facefact.types import Face, UserError

BACKENDS = ("mediapipe", "yunet", "insightface")  # for photos
SAME_FACE = 0.4  # intersection over union of two boxes
PERCENTILES = (5, 25, 50, 75, 95, 99)
POINTS = ("eye at the left", "eye at the right", "nose tip", "mouth corner at the left", "mouth corner at the right")

Progress = Callable[[str, int, int], object]  # what is measured, how much of it, of how much


def alignments(
    entries: Sequence[Entry], settings: PrepareConfig, *, yunet: str | None, progress: Progress
) -> dict[str, Any]:
    """Figures of each two detectors. Where there are no two: {"skipped": why}."""
    detectors, missing = detectors_here(settings, yunet)
    if len(detectors) < 2:
        here = ", ".join(detectors) or "none"
        return {"skipped": f"two detectors are needed, and here is {here}: {'; '.join(missing.values())}"}
    faces: dict[str, list[Face | None]] = {name: [] for name in detectors}
    for done, entry in enumerate(entries, 1):
        for name, detector in detectors.items():
            faces[name].append(face_of(entry, detector, settings))
        progress("alignment", done, len(entries))
    numbers = person_numbers(entries)
    return {f"{a}, {b}": compared(faces[a], faces[b], numbers) for a, b in combinations(detectors, 2)}


def detectors_here(settings: PrepareConfig, yunet: str | None) -> tuple[dict[str, Detector], dict[str, str]]:
    """Those that can be opened, by name, and why the others cannot."""
    here: dict[str, Detector] = {}
    missing: dict[str, str] = {}
    names = BACKENDS if settings.face.detector != "avatar" else ("avatar", *BACKENDS)
    for name in names:
        try:
            here[name] = get_detector(name, model=(yunet or settings.face.model) if name == "yunet" else None)
        except UserError as error:
            missing[name] = str(error)
    return here, missing


def face_of(entry: Entry, detector: Detector, settings: PrepareConfig) -> Face | None:
    """The one that the preparation would take."""
    try:
        return find(decode(entry, settings.decode), detector, settings.face)[0].face
    except Unfit:
        return None


def compared(first: Sequence[Face | None], second: Sequence[Face | None], people: np.ndarray) -> dict[str, Any]:
    """Landmarks of the same pictures by two detectors. Distances are shares of the first one's eye distance.

    distance: mean over the five points. by_point: mean of each. scatter: the distance that is left when each point's
    mean difference, in the face's own frame, is taken off: what differs from face to face, and not by what the two call
    "mouth corner". crop: pixels of the 112 px crop by which the two alignments put the face apart, mean over the
    template's points. n: faces; other counts: pictures in which only one took a face, none did, or each another one.
    people: (n,) whose each picture is.
    """
    shares, crops, whose = [], [], []
    counts = Counter({"only the first": 0, "only the second": 0, "neither": 0, "different faces": 0})
    for one, other, person in zip(first, second, people.tolist(), strict=True):
        if one is None or other is None:
            names = {(True, False): "only the first", (False, True): "only the second"}
            counts[names.get((one is not None, other is not None), "neither")] += 1
        elif overlap(one, other) < SAME_FACE:
            counts["different faces"] += 1
        else:
            share, crop = apart(one.landmarks, other.landmarks)
            shares.append(share)
            crops.append(crop)
            whose.append(person)
    if not shares:
        return {"n": 0, **counts}
    away, numbers = np.array(shares), np.array(whose)
    lengths = np.linalg.norm(away, axis=2)
    scatter = np.linalg.norm(away - away.mean(0), axis=2).mean(1)
    return {
        "n": len(shares),
        **counts,
        "distance": {**figure(lengths.mean(1), numbers).as_json(), "percentiles": percentiles(lengths.mean(1))},
        "by_point": {name: round(float(value), 4) for name, value in zip(POINTS, lengths.mean(0), strict=True)},
        "scatter": {**figure(scatter, numbers).as_json(), "percentiles": percentiles(scatter)},
        "crop": {**figure(np.array(crops), numbers).as_json(), "percentiles": percentiles(np.array(crops))},
    }


def apart(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, float]:
    """(5, 2) landmarks, twice -> (5, 2) from one to the other, turned upright as the first aligns the face and in units
    of its eye distance; and the mean distance in pixels of a 112 px crop between the two places of its template."""
    upright = alignment(one)
    ours, theirs = transform(one, upright), transform(other, upright)
    eyes = float(np.linalg.norm(ours[1] - ours[0]))
    moved = transform(transform(TEMPLATE, inverse(alignment(other))), upright) - TEMPLATE
    return (theirs - ours) / eyes, float(np.linalg.norm(moved, axis=1).mean())


def percentiles(values: np.ndarray) -> dict[str, float]:
    """(n,) -> PERCENTILES of it, by their number."""
    return {str(k): round(float(v), 4) for k, v in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}

"""`facefact eval recogniser`: is a recogniser of photos, as it is wrapped here, the one that it should be?

On folders of photos, a folder for each person, as LFW has them: faces found and cut out as the preparation does it,
and of all pairs the ROC curve and the accuracy of the LFW protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facefact.data.prepare_config import PeopleSettings
from facefact.data.recognisers import Recogniser, open_recogniser, unit
from facefact.data.records import Unfit
from facefact.evaluate.encoder import score
from facefact.evaluate.pictures import Progress
from facefact.faces import Detector
from facefact.faces.choice import choose_face
from facefact.faces.crop import face_crop_from
from facefact.faces.files import is_nothing, is_picture
from facefact.faces.picture import open_picture
from facefact.types import UserError

FEWEST = 20  # people: two for each of ten folds
ASIDE = 0.35  # of the picture's width: farther from its middle it is somebody else's face


@dataclass(frozen=True)
class Seen:
    """views: what the recogniser reads of each photo. people: (n,) from 0 on. skipped: files, and why."""

    views: list[np.ndarray]
    people: np.ndarray
    skipped: tuple[str, ...]


def open_named(name: str) -> Recogniser:
    """dlib, insightface, or the folder of a TransFace. UserError: it cannot be had."""
    if name in ("none", "auto"):
        raise UserError(f"{name} is no recogniser: name dlib, insightface or the folder of a TransFace")
    found = open_recogniser(PeopleSettings(recogniser=name, outlier=1.0, cluster=1.0))
    assert found is not None  # only "none" and "auto" give nothing
    return found


def photos_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name of the person's folder, and the file. UserError: it is no folder."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give one that holds a folder of photos for each person")
    for person in sorted(one for one in folder.iterdir() if one.is_dir()):
        for path in sorted(person.iterdir()):
            if is_picture(path.name) and not is_nothing(path.name):
                yield person.name, path


def look(folder: Path, recogniser: Recogniser, detector: Detector, progress: Progress | None = None) -> Seen:
    """The face of each photo. UserError: too few people."""
    files = list(photos_of(folder))
    views, owners, skipped = [], [], []
    for done, (owner, path) in enumerate(files, 1):
        try:
            picture = open_picture(path)
            face = choose_face(in_the_middle(detector.detect(picture), picture.shape[1]))
            head = detector.head_mask(picture, face)
            crop = face_crop_from(picture, landmarks=face.landmarks, head=head, face=face).pixels
            views.append(recogniser.view(picture, face, crop=crop))
            owners.append(owner)
        except UserError as error:
            skipped.append(f"{path.name}: {error}")
        if progress:
            progress("photos", done, len(files))
    names, people = np.unique(owners, return_inverse=True)
    if len(names) < FEWEST:
        raise UserError(f"{folder} has usable photos of {len(names)} people; {FEWEST} are needed")
    return Seen(views, people, tuple(skipped))


def in_the_middle(faces: list[Any], width: int) -> list[Any]:
    """Those whose box is near the picture's middle, where LFW has its person; all where none is."""
    near = [one for one in faces if abs((one.box[0] + one.box[2]) / 2 - width / 2) <= ASIDE * width]
    return near or faces


def evaluate_recogniser(
    name: str, folder: Path, detector: Detector, *, seed: int = 0, progress: Progress | None = None
) -> dict[str, Any]:
    """AUC and accuracy with intervals over people, and more (`encoder.score`), as JSON values."""
    recogniser = open_named(name)
    seen = look(folder, recogniser, detector, progress)
    embeddings = recogniser.embed(seen.views)
    vectors, people, skipped = [], [], list(seen.skipped)
    for person, one in zip(seen.people, embeddings, strict=True):
        try:
            vectors.append(unit(one))
            people.append(int(person))
        except Unfit as error:
            skipped.append(str(error))
    about = {"recogniser": recogniser.name, "licence": recogniser.licence, "detector": detector.name}
    counts = {"people": len(set(people)), "pictures": len(people), "skipped": len(skipped)}
    return about | counts | score(np.stack(vectors), np.array(people), seed=seed)

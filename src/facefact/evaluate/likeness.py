"""`facefact card calibrate`: how alike two real pictures of one person are, and two of strangers, for a recogniser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facefact.data.prepare_config import PeopleSettings
from facefact.data.recognisers import MENDING, Recogniser, TransFaceRecogniser, open_recogniser, unit
from facefact.data.records import Unfit
from facefact.evaluate.pictures import Progress
from facefact.faces import Detector, face_crop, open_picture
from facefact.faces.files import is_nothing, is_picture
from facefact.metrics.likeness import Calibration, calibration_of
from facefact.types import UserError
from facefact.world import first_held_out, held_out_seed, look, person, render


@dataclass(frozen=True)
class Measured:
    """skipped: pictures in which nobody was recognised, and why."""

    calibration: Calibration
    skipped: tuple[str, ...] = ()


def recogniser_called(name: str) -> Recogniser:
    """auto, dlib, insightface, or the directory of an encoder or adapter. UserError: it cannot be had."""
    found = open_recogniser(PeopleSettings(recogniser=name))
    if found is None:
        raise UserError(f"no face recogniser is here: {MENDING}; or name an adapter's directory: --recogniser DIR")
    return found


def calibrate_photos(
    folder: Path, recogniser: Recogniser, *, detector: Detector, most: int = 0, progress: Progress | None = None
) -> Measured:
    """folder: holds a folder of photos for each person. most: pictures of a person that are looked at; 0: all.

    UserError: there are no such folders, or too few pictures in which somebody is recognised.
    """
    files = photos_by_person(folder, most=most)
    embeddings, owners, skipped = [], [], []
    for done, (owner, path) in enumerate(files, 1):
        try:
            crop = face_crop(path, detector=detector, warn=False)
            view = recogniser.view(open_picture(path), crop.face, crop=crop.pixels)
            embeddings.append(unit(recogniser.embed([view])[0]))
            owners.append(owner)
        except (UserError, Unfit) as error:
            skipped.append(f"{path}: {error}" if isinstance(error, Unfit) else str(error))
        if progress:
            progress("photos", done, len(files))
    if not owners:
        raise UserError(f"{folder}: in none of {len(files)} photos somebody was recognised: {skipped[0]}")
    people = np.unique(owners, return_inverse=True)[1]
    return Measured(calibration_of(np.stack(embeddings), people, recogniser=recogniser.name), tuple(skipped))


def photos_by_person(folder: Path, *, most: int = 0) -> list[tuple[str, Path]]:
    """(the person's folder, the photo) of all, sorted. UserError: no photos."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give one that holds a folder of photos for each person")
    found = []
    for one in sorted(path for path in folder.iterdir() if path.is_dir() and not is_nothing(path.name)):
        pictures = [path for path in sorted(one.iterdir()) if is_picture(path.name) and not is_nothing(path.name)]
        found += [(one.name, path) for path in pictures[: most or None]]
    if not found:
        raise UserError(f"{folder} holds no folders with photos: one for each person is needed")
    return found


def calibrate_world(
    recognisers: list[TransFaceRecogniser],
    *,
    detector: Detector,
    seed: int = 0,
    people: int = 100,
    per_person: int = 4,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Calibration]:
    """The same on renders of people that no training saw, in random looks, found as portraits are: one for each
    recogniser. Renders in which the detector sees nobody are left out."""
    rng, first = np.random.default_rng((seed, 79)), first_held_out(seed)
    crops, owners = [], []
    for i in range(people):
        for _ in range(per_person):
            drawn = render(person(first + i), look(held_out_seed(rng))).image
            try:
                crops.append(face_crop(drawn, detector=detector, warn=False).pixels)
                owners.append(i)
            except UserError:
                continue
            if progress:
                progress("renders", len(crops), people * per_person)
    whose = np.unique(owners, return_inverse=True)[1]
    return [
        calibration_of(np.stack([unit(row) for row in one.embed(crops)]), whose, recogniser=one.name)
        for one in recognisers
    ]

"""How like a person a picture is, as the adapter's own face encoder sees it: by photos and identity cards alike.

The encoder is what the portraits were made with, so it sees them a little more like the person than others do; what a
similarity means is said by `metrics.likeness`, calibrated for this encoder (`encoder_name`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facefact.checkpoint import content_hash
from facefact.data.recognisers import unit
from facefact.data.records import Unfit
from facefact.encoder import TransFace
from facefact.face_adapter import FaceAdapter
from facefact.faces import Detector, face_crop
from facefact.faces.picture import PictureLike
from facefact.generate.models import models_dir
from facefact.generate.person import Person
from facefact.generate.strangers import embedded
from facefact.metrics.likeness import Calibration, load_calibrations
from facefact.types import UserError

log = logging.getLogger("facefact")


def encoder_name(encoder: TransFace) -> str:
    """As `data.recognisers.TransFaceRecogniser` names it, and so its calibration."""
    state = {
        name: value.float() if value.is_floating_point() else value for name, value in encoder.state_dict().items()
    }
    return f"TransFace {content_hash(state)[:12]}"


def own_calibrations() -> Path:
    """Where `facefact card calibrate` writes what it measured, unless told otherwise; it need not exist."""
    return models_dir() / "likeness.json"


def calibrations() -> dict[str, Calibration]:
    """By the recogniser's name: the user's own, and those that ship with the package. Of a damaged file the log warns,
    and it counts as none."""
    shipped, path = load_calibrations(), own_calibrations()
    try:
        return shipped | load_calibrations(path) if path.exists() else shipped
    except UserError as error:
        log.warning("warning: %s", error)
        return shipped


def similarities(
    person: Person, pictures: Sequence[PictureLike], *, adapter: FaceAdapter, detector: Detector
) -> np.ndarray:
    """(n,) of each picture's largest face the mean cosine to the person's pictures, those on cards too; NaN where no
    face is found, or nothing can be said of it. (A mean of pairs, as those that the calibration is of.)"""
    known = [card.embedding.numpy() for card in person.cards]
    if person.crops:
        known.append(embedded(person.crops, adapter.encoder))
    units = np.stack([unit(row) for rows in known for row in rows])
    return np.array([_similarity(picture, units, adapter, detector) for picture in pictures])


def _similarity(picture: PictureLike, known: np.ndarray, adapter: FaceAdapter, detector: Detector) -> float:
    try:
        crop = face_crop(picture, detector=detector, warn=False)
        return float((known @ unit(embedded([crop], adapter.encoder)[0])).mean())
    except (UserError, Unfit):
        return math.nan

"""Several photos of one person: is one of them of somebody else? Then the portraits would resemble neither."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from facefact.data.people import unlike
from facefact.data.prepare_config import PeopleSettings
from facefact.data.recognisers import (
    InsightFaceRecogniser,
    TransFaceRecogniser,
    open_recogniser,
    unit,
    which_recogniser,
)
from facefact.data.records import Unfit
from facefact.encoder import Card, TransFace
from facefact.face_adapter import crop_pixels
from facefact.faces import open_picture
from facefact.types import FaceCrop

log = logging.getLogger("facefact")

AVATAR = "avatar"  # the backend that finds them
STRANGER = (
    "warning: %s seems to show somebody else than the other photos: leave it out, or the portraits mix two people"
)
TWO = "warning: %s and %s seem to show two different people: leave one out, or the portraits mix them"
NOBODY = "warning: no two of the %d photos seem to show the same person: the portraits will resemble none of them"


def warn_of_strangers(
    photos: Sequence[str | Path], crops: Sequence[FaceCrop], *, encoder: TransFace, cards: Sequence[Card] = ()
) -> list[int]:
    """Logs which of several photos and identity cards of a person are of somebody else, and returns their numbers
    (cards after photos); of two that disagree nobody can say which. crops: the face of each photo. encoder: the
    adapter's, which made the cards.

    Photos are compared by the recogniser that the preparation would take, where one is installed; avatars, cards, and
    photos without a recogniser, by what the encoder makes of them.
    """
    names = [*map(str, photos), *(card.called for card in cards)]
    if len(names) < 2:
        return []
    try:
        if cards:
            embeddings, distance = _with_cards(crops, cards, encoder)
        else:
            embeddings, distance = _compared(photos, crops, encoder)
    except Unfit:  # a recogniser that makes nothing of a face says nothing of the person
        return []
    apart = unlike(embeddings, distance)
    strange = np.flatnonzero(apart > 0).tolist()
    if np.isinf(apart).all():
        log.warning(TWO, *names) if len(names) == 2 else log.warning(NOBODY, len(names))
    else:
        for number in strange:
            log.warning(STRANGER, names[number])
    return strange


def _compared(photos: Sequence[str | Path], crops: Sequence[FaceCrop], encoder: TransFace) -> tuple[np.ndarray, float]:
    """(n, d) unit vectors, and the distance from the others that is too far. Unfit: a face gives no vector."""
    avatars = any(crop.face.backend == AVATAR for crop in crops)
    settings = PeopleSettings()
    if not avatars and which_recogniser(settings) != "none":
        recogniser = open_recogniser(settings)
        assert recogniser is not None
        views = [recogniser.view(open_picture(photo), one.face) for photo, one in zip(photos, crops, strict=True)]
        return np.stack([unit(one) for one in recogniser.embed(views)]), recogniser.outlier
    vectors = _embedded(crops, encoder)
    return np.stack([unit(one) for one in vectors]), (TransFaceRecogniser if avatars else InsightFaceRecogniser).outlier


def _with_cards(crops: Sequence[FaceCrop], cards: Sequence[Card], encoder: TransFace) -> tuple[np.ndarray, float]:
    """The same, each card's pictures as one. A card holds no photo that a recogniser could look at."""
    vectors = [*(_embedded(crops, encoder) if crops else ()), *(card.embedding.sum(0).numpy() for card in cards)]
    photos = all(source.kind == "photo" for card in cards for source in card.sources)
    distance = (InsightFaceRecogniser if photos else TransFaceRecogniser).outlier
    return np.stack([unit(one) for one in vectors]), distance


def _embedded(crops: Sequence[FaceCrop], encoder: TransFace) -> np.ndarray:
    """(n, d), not normalised."""
    weight = encoder.pos_embed
    with torch.inference_mode():
        pixels = torch.stack([crop_pixels(crop) for crop in crops]).to(weight.device, weight.dtype)
        return encoder.embed(pixels).float().cpu().numpy()

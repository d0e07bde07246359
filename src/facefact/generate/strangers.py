"""Several photos of one person: is one of them of somebody else? Then the portraits would resemble neither."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
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
            embeddings, distance = _with_cards(embedded(crops, encoder) if crops else (), cards)
        else:
            embeddings, distance = _compared(photos, crops, encoder)
    except Unfit:  # a recogniser that makes nothing of a face says nothing of the person
        return []
    return _said(names, embeddings, distance)


def warn_of_other_people(cards: Sequence[Card]) -> list[int]:
    """The same of cards alone, which no model is needed for."""
    if len(cards) < 2:
        return []
    try:
        return _said([card.called for card in cards], *_with_cards([], cards))
    except Unfit:
        return []


def _said(names: Sequence[str], embeddings: np.ndarray, distance: float) -> list[int]:
    """embeddings: (n, d) unit vectors. distance: from the others that is too far."""
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
    vectors = embedded(crops, encoder)
    return np.stack([unit(one) for one in vectors]), (TransFaceRecogniser if avatars else InsightFaceRecogniser).outlier


def _with_cards(photos: Iterable[np.ndarray], cards: Sequence[Card]) -> tuple[np.ndarray, float]:
    """The same of photos' embeddings and cards, each card's pictures as one: a card holds no photo that a recogniser
    could look at."""
    vectors = [*photos, *(card.embedding.sum(0).numpy() for card in cards)]
    of_photos = all(source.kind == "photo" for card in cards for source in card.sources)
    distance = (InsightFaceRecogniser if of_photos else TransFaceRecogniser).outlier
    return np.stack([unit(one) for one in vectors]), distance


def embedded(crops: Sequence[FaceCrop], encoder: TransFace) -> np.ndarray:
    """(n, d), not normalised."""
    weight = encoder.pos_embed
    with torch.inference_mode():
        pixels = torch.stack([crop_pixels(crop) for crop in crops]).to(weight.device, weight.dtype)
        return encoder.embed(pixels).float().cpu().numpy()

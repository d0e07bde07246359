"""Identity cards of photos."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image

from facefact.encoder.card import Card, Source, encoder_hash, is_card
from facefact.face_adapter import FaceAdapter
from facefact.faces import Detector, face_quality, open_picture
from facefact.generate.avatar import said_of
from facefact.generate.person import AVATAR, find_crops, person_of
from facefact.generate.strangers import embedded, warn_of_strangers
from facefact.types import FaceCrop, UserError

JPEG_QUALITY = 85


def make_card(
    photos: Sequence[str | Path],
    *,
    adapter: FaceAdapter,
    adapter_name: str = "",
    detector: Detector | None = None,
    which: int = 0,
    model: str = "",
    name: str = "",
    consent: str = "",
    expires: date | None = None,
    thumbnail: bool = False,
) -> Card:
    """A card of photos of one person, for `save_card`; the same tokens as the photos give to this adapter.

    detector, which, model: as `find_person`; with the demo model a card of photos is one of the avatar that stands in
    for them. adapter_name: what is to be said where another encoder's card is refused. thumbnail: with the face of the
    best photo, without anything around the head. Logs which photo shows somebody else. UserErrors as `find_person`.
    """
    if cards := [one for one in photos if is_card(one)]:
        raise UserError(f"{cards[0]} is a card already: make one of the photos, then `facefact card merge` both")
    crops = find_crops(photos, detector=detector, which=which)
    quality = {
        id(crop): face_quality(open_picture(one), crop.face).score for one, crop in zip(photos, crops, strict=True)
    }
    person = person_of(photos, crops, detector=detector, model=model)
    warn_of_strangers(person.names, person.crops, encoder=adapter.encoder)
    replaced = [quality[id(crop)] for crop in crops if not any(crop is one for one in person.crops)]
    sources = [_source(crop, quality.get(id(crop)), replaced) for crop in person.crops]
    best = max(zip(sources, person.crops, strict=True), key=lambda one: one[0].quality)[1]
    return Card(
        tokens=adapter.encode(person.crops).to("cpu", torch.float32),
        embedding=F.normalize(torch.from_numpy(embedded(person.crops, adapter.encoder)), dim=-1),
        sources=tuple(sources),
        encoder=encoder_hash(adapter.encoder, adapter.resampler),
        adapter=adapter_name,
        name=name,
        consent=consent,
        expires=expires,
        thumbnail=_jpeg(best) if thumbnail else None,
        avatar=said_of(person.avatar),
    )


def _source(crop: FaceCrop, quality: float | None, replaced: Sequence[float]) -> Source:
    """quality: of the photo; None of an avatar that stands in for photos, which is as good as they were on average."""
    if quality is None:
        return Source("drawn", sum(replaced) / len(replaced), crop.face.pose)
    return Source("avatar" if crop.face.backend == AVATAR else "photo", quality, crop.face.pose)


def _jpeg(crop: FaceCrop) -> bytes:
    """112 px."""
    file = io.BytesIO()
    Image.fromarray(crop.pixels).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()

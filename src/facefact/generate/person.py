"""Who is to be seen: somebody found in photos, or known by identity cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facefact.demo import DEMO
from facefact.encoder.card import Card, check_encoder, encoder_hash, is_card, load_card
from facefact.face_adapter import FaceAdapter
from facefact.faces import Detector, face_crop, get_detector
from facefact.generate.avatar import Avatar, avatar_from, avatar_of, recipe_of, say_what_was_added, worded
from facefact.generate.recipe import file_hash
from facefact.types import FaceCrop, FaceTokens, UserError

AVATAR = "avatar"  # the detector's name, which its faces carry


@dataclass(frozen=True)
class Person:
    """Somebody who was found in photos, or is known by cards.

    crops: the face of each photo. origin: the recipe's part that says which files (SHA-256), photos and cards, which of
    them are cards, and which face of each photo. avatar: who stands in for the photos where the model draws avatars
    only; its crop is the last. cards: those among the files. names: what messages call each crop.
    """

    crops: list[FaceCrop]
    origin: dict[str, Any]
    avatar: Avatar | None = None
    cards: tuple[Card, ...] = ()
    names: tuple[str, ...] = ()

    def prompts(self, asked: Sequence[str]) -> list[str]:
        """What to ask the model for: the same or, where an avatar stands in, with the photo's hair and glasses where a
        prompt names none, which the log says."""
        if self.avatar is None:
            return list(asked)
        say_what_was_added(self.avatar, asked)
        return [worded(self.avatar, prompt) for prompt in asked]


def find_person(
    photos: Sequence[str | Path], *, detector: Detector | None = None, which: int = 0, model: str = ""
) -> Person:
    """One person, shown by all the photos. An identity card may stand wherever a photo does. which: which face of each
    photo, 0 is the largest.

    detector: None for the best there is, which cards alone do not need. model: the name of the model that is to draw
    them. For the demo model, which draws avatars only, one avatar is drawn from all pictures that are none, as the log
    says. UserErrors as `facefact.faces.face_crop` and `load_card`.
    """
    paths = [one for one in photos if is_card(one)]
    cards = [load_card(one) for one in paths]
    pictures = [one for one in photos if one not in paths]
    if which and not pictures:
        raise UserError(f"{photos[0]}: a card holds one face: there is no face {which} to choose")
    crops = find_crops(pictures, detector=detector, which=which)
    person = person_of(pictures, crops, detector=detector, model=model)
    origin: dict[str, Any] = {"faces": [file_hash(one) for one in photos], "which": which}
    if cards:
        origin["cards"] = [file_hash(one) for one in paths]
    avatar = person.avatar
    if model == DEMO and avatar is None:
        avatar = next((avatar_from(card) for card in cards if card.avatar), None)
    return replace(person, origin=origin | recipe_of(avatar), avatar=avatar, cards=tuple(cards))


def find_crops(photos: Sequence[str | Path], *, detector: Detector | None, which: int = 0) -> list[FaceCrop]:
    """The face of each."""
    return [face_crop(photo, detector=detector, which=which) for photo in photos]


def person_of(
    photos: Sequence[str | Path], crops: list[FaceCrop], *, detector: Detector | None, model: str = ""
) -> Person:
    """The person of photos whose faces were found, without an origin; see `find_person`."""
    names = [str(photo) for photo in photos]
    real = [i for i, crop in enumerate(crops) if model == DEMO and crop.face.backend != AVATAR]
    if not real:
        return Person(crops, {}, names=tuple(names))
    finder = detector or get_detector()
    avatar = avatar_of([photos[i] for i in real], [crops[i] for i in real], detector=finder)
    assert avatar.crop is not None
    drawn = [i for i in range(len(crops)) if i not in real]
    names = [*(names[i] for i in drawn), ", ".join(names[i] for i in real)]
    return Person([*(crops[i] for i in drawn), avatar.crop], {}, avatar, names=tuple(names))


def tokens_of(person: Person, adapter: FaceAdapter, *, encoder: str = "") -> FaceTokens:
    """What the adapter sees of a person: those of the photos, then those of the cards, (1, 16 * pictures, width).

    encoder: the adapter's `encoder_hash`, where it is known already (it takes up to a second). UserError: a card was
    made with another face encoder, whose tokens mean nothing to this adapter.
    """
    width = adapter.resampler.config.output_width
    for card in person.cards:
        encoder = encoder or encoder_hash(adapter.encoder, adapter.resampler)
        check_encoder(card, encoder)
        if card.tokens.face.shape[-1] != width:
            raise UserError(f"{card.called}: a damaged card: its tokens are not {width} wide")
    if not person.cards:
        return adapter.encode(person.crops)
    known = [card.tokens.to(adapter.device, adapter.dtype) for card in person.cards]
    return FaceTokens.joined([adapter.encode(person.crops), *known] if person.crops else known)

"""Photos for the demo model, which draws avatars only: the person of its world that is most like them stands in."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facefact.encoder.card import Card
from facefact.faces import Detector, face_crop_from, open_picture
from facefact.types import FaceCrop, UserError
from facefact.world.caption import GLASSES, HAIR, SUBJECT
from facefact.world.factors import CHOICES, IDENTITY
from facefact.world.likeness import Likeness, likeness, look_at, portrait

log = logging.getLogger("facefact")

DRAWN = "%s: the demo model draws avatars: one was drawn from the photo, to see it: facefact faces PHOTO --avatar DIR"
WORDS = "the photo shows %s: added to the prompt (name hair, glasses or a hat in --prompt to choose yourself)"
UNSURE = "what hair the photo shows cannot be told for sure: say it in --prompt, for instance 'with short brown hair'"
# Words of a prompt that say what a photo would.
NAMES_HAIR = re.compile(r"\b(hair|haired|bald|blonde?|brunette|ponytail|bun)\b", re.IGNORECASE)
NAMES_GLASSES = re.compile(r"\b(sun)?glasses\b|\bspectacles\b", re.IGNORECASE)
AFTER_GLASSES = re.compile(r"(with|in|at|under|daylight|warm|cool)\b", re.IGNORECASE)  # how such phrases begin


@dataclass(frozen=True)
class Avatar:
    """crop: of the drawn face, as the encoder wants it; None of one that an identity card knows. factors: of the
    world's identity, for the recipe. hair, glasses: what the photos show for sure, in the world's words, "" for
    nothing."""

    crop: FaceCrop | None
    factors: dict[str, float] = field(default_factory=dict)
    hair: str = ""
    glasses: str = ""


def avatar_of(photos: Sequence[str | Path], crops: Sequence[FaceCrop], *, detector: Detector) -> Avatar:
    """One avatar of all the photos. crops: the face of each, as `detector` found it. The log says that it was drawn."""
    like = look_like(photos, crops, detector=detector)
    drawn = portrait(like)
    log.warning(DRAWN, ", ".join(str(photo) for photo in photos))
    factors = {name: round(like.person[name], 3) for name in IDENTITY}
    hair, glasses = words(like.worn.choices)
    return Avatar(face_crop_from(drawn.image, landmarks=drawn.landmarks, head=drawn.head), factors, hair, glasses)


def look_like(photos: Sequence[str | Path], crops: Sequence[FaceCrop], *, detector: Detector) -> Likeness:
    """The same, as the world's person."""
    return likeness([look_at(open_picture(one), crop.face, detector) for one, crop in zip(photos, crops, strict=True)])


def words(choices: Mapping[str, str]) -> tuple[str, str]:
    """Hair and glasses of a look as its caption says them, "" for what is not among the choices."""
    assert all(value in CHOICES[name] for name, value in choices.items())
    hair = choices.get("hair", "")
    glasses = GLASSES[choices.get("glasses", "none")]
    return HAIR[hair].format(choices.get("hair_colour", "")) if hair else "", glasses and f"wearing {glasses}"


def said_of(avatar: Avatar | None) -> dict[str, Any] | None:
    """What an identity card keeps of it."""
    return None if avatar is None else {"factors": avatar.factors, "hair": avatar.hair, "glasses": avatar.glasses}


def avatar_from(card: Card) -> Avatar:
    """The avatar that a card was made of. UserError: what it says of one are not the world's words."""
    assert card.avatar is not None
    factors, hair, glasses = (card.avatar[name] for name in ("factors", "hair", "glasses"))
    colours = CHOICES["hair_colour"]
    known_hair = {"", *(phrase.format(colour) for phrase in HAIR.values() for colour in colours)}
    known_glasses = {"", *(f"wearing {one}" for one in GLASSES.values() if one)}
    if hair not in known_hair or glasses not in known_glasses or not factors.keys() <= set(IDENTITY):
        raise UserError(f"{card.called}: a damaged card: it says of its avatar what the world has no words for")
    return Avatar(None, factors, hair, glasses)


def worded(avatar: Avatar, prompt: str) -> str:
    """The prompt with what the photos show and it does not name: hair where it names no hair, glasses where it names
    none. A prompt that begins as the model's captions do gets them where those have them, others at their end."""
    hair = "" if NAMES_HAIR.search(prompt) else avatar.hair
    glasses = "" if NAMES_GLASSES.search(prompt) else avatar.glasses
    parts = [part.strip() for part in prompt.split(",")]
    if not (hair or glasses) or parts[0].lower() != SUBJECT:
        return ", ".join(part for part in (prompt, hair, glasses) if part)
    before = next((i for i, part in enumerate(parts) if i and AFTER_GLASSES.match(part)), len(parts))
    return ", ".join(part for part in (parts[0], hair, *parts[1:before], glasses, *parts[before:]) if part)


def say_what_was_added(avatar: Avatar, prompts: Sequence[str]) -> None:
    """Logs one line where a prompt gets words of the photos, and one where it would have needed them."""
    given = [worded(avatar, prompt) for prompt in prompts]
    added = [
        re.sub("^(with|wearing) ", "", part)
        for part in (avatar.hair, avatar.glasses)
        if part and any(part in new and part not in old for new, old in zip(given, prompts, strict=True))
    ]
    if added:
        log.warning(WORDS, " and ".join(added))
    if not avatar.hair and not all(map(NAMES_HAIR.search, prompts)):
        log.warning(UNSURE)


def recipe_of(avatar: Avatar | None) -> dict[str, Any]:
    """The recipe's part: which person was drawn."""
    return {} if avatar is None else {"avatar": avatar.factors}

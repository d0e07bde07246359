"""Identity cards: a person's tokens in a small file, usable wherever a photo of the person is.

A card is biometric data: who has it can make portraits of the person, and tell whether a photo shows them. It is
written for its owner alone, and carries what the person agreed to and until when.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facefact import checkpoint, files
from facefact.types import FaceTokens, Pose, UserError

FORMAT, VERSION = "facefact.card", 1
SUFFIX = ".safetensors"
# photo: of a photo. avatar: of a drawn avatar. drawn: of the avatar that stands in for photos with the demo model.
# invented: of nobody, mixed from cards.
KINDS = ("photo", "avatar", "drawn", "invented")
MOST_PHOTOS = 64
MOST_LETTERS = {"name": 200, "consent": 2000, "adapter": 200}
MOST_THUMBNAIL = 64 << 10  # bytes of a JPEG of 112 px: it has 4 kB


@dataclass(frozen=True)
class Source:
    """What one picture's tokens were made of. kind: one of KINDS. quality: in [0, 1], `faces.quality`. pose: of the
    head, in degrees."""

    kind: str
    quality: float
    pose: Pose


@dataclass(frozen=True, eq=False)
class Card:
    """One person.

    tokens: (1, 16 * n, width), of n pictures. embedding: (n, d) float32 unit vectors of the encoder's recognition head,
    which tell whether two cards are of one person. sources: of the n pictures. encoder: `encoder_hash` of what made
    them, adapter: its name. name, consent: as the owner wrote them. made, expires: days (UTC); the last one counts.
    thumbnail: a JPEG of the face, only if it was asked for. avatar: what the demo model's prompts need to know of a
    person that it draws as an avatar (`generate.avatar`). file: where it was read from, for messages; not stored.
    """

    tokens: FaceTokens
    embedding: Tensor
    sources: tuple[Source, ...]
    encoder: str
    adapter: str = ""
    name: str = ""
    consent: str = ""
    made: date = field(default_factory=lambda: today())
    expires: date | None = None
    thumbnail: bytes | None = None
    avatar: Mapping[str, Any] | None = None
    file: str = ""

    @property
    def called(self) -> str:
        """What messages call it."""
        return self.file or self.name or "the card"

    @property
    def expired(self) -> bool:
        return self.expires is not None and self.expires < today()

    def said(self) -> dict[str, Any]:
        """What it says besides the numbers, in plain types; thumbnail: its bytes in base64."""
        return {
            "name": self.name,
            "consent": self.consent,
            "made": self.made.isoformat(),
            "expires": self.expires and self.expires.isoformat(),
            "expired": self.expired,
            "adapter": self.adapter,
            "sources": [asdict(one) for one in self.sources],
            "thumbnail": self.thumbnail and base64.b64encode(self.thumbnail).decode(),
        }


def today() -> date:
    """In UTC, so that a card expires everywhere at once."""
    return datetime.now(timezone.utc).date()


def encoder_hash(encoder: nn.Module, resampler: nn.Module) -> str:
    """SHA-256 of all that makes tokens of faces: adapters that differ in their layers alone read each other's cards.
    The type that the weights are kept in does not count, as long as the values are the same."""
    parts = {"encoder": encoder, "resampler": resampler}
    state = {f"{part}.{name}": value for part, net in parts.items() for name, value in net.state_dict().items()}
    return checkpoint.content_hash({k: v.float() if v.is_floating_point() else v for k, v in state.items()})


def check_encoder(card: Card, encoder: str) -> None:
    """UserError, which names both: the card was made with another encoder than this one (`encoder_hash`)."""
    if card.encoder != encoder:
        made_with = f"of {card.adapter} ({card.encoder[:10]})" if card.adapter else card.encoder[:10]
        raise UserError(
            f"{card.called}: this card was made with another face encoder ({made_with}; here it is {encoder[:10]}): "
            "make one from the photos with the model that is to read it: `facefact card make --model ... --adapter ...`"
        )


# On disk


def is_card(path: str | os.PathLike[str]) -> bool:
    """Whether a file is to be read as a card and not as a picture: by its first bytes or, where it is damaged, by its
    name."""
    return files.begins_as_tensors(path) or Path(path).suffix.lower() == SUFFIX


def save_card(card: Card, path: str | os.PathLike[str]) -> None:
    """A safetensors file for its owner alone (mode 0600), under a temporary name first. The same card gives the same
    bytes. UserError: it says more than a card holds, or the disk does not take it."""
    path = Path(path)
    said = {
        "version": VERSION,
        "encoder": card.encoder,
        "adapter": card.adapter,
        "name": card.name,
        "consent": card.consent,
        "made": card.made.isoformat(),
        "expires": card.expires and card.expires.isoformat(),
        "sources": [asdict(one) for one in card.sources],
        "avatar": dict(card.avatar) if card.avatar else None,
    }
    tensors = card.tokens.as_tensors() | {"embedding": card.embedding}
    if card.thumbnail is not None:
        tensors["thumbnail"] = torch.frombuffer(bytearray(card.thumbnail), dtype=torch.uint8)
    try:
        _card_of(tensors, said)  # nothing is written that would not be read
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_tensors(path, tensors, {FORMAT: json.dumps(said)})
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"cannot write {path}: {error}") from error


def load_card(source: str | os.PathLike[str] | bytes, *, name: str = "", even_expired: bool = False) -> Card:
    """A file, or its bytes (which messages call `name`). It may come from anybody: sizes are checked before anything is
    read, and it holds nothing that runs.

    even_expired: to look at it. UserError: there is none, it is damaged, no card, or has expired.
    """
    called = name or ("the card" if isinstance(source, bytes) else os.fspath(source))
    try:
        tensors, metadata = files.read_tensors(source)
        if FORMAT not in metadata:
            raise ValueError("no identity card; `facefact card make` makes one of photos")
        card = _card_of(tensors, json.loads(metadata[FORMAT]), file=called)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{called}: {error}") from None
    if card.expired and not even_expired:
        raise UserError(
            f"{called}: this card expired on {card.expires}: ask the person, and make another with `facefact card make`"
        )
    return card


def _card_of(tensors: Mapping[str, Tensor], said: Any, *, file: str = "") -> Card:
    """ValueError: what makes it none."""
    if not isinstance(said, dict) or said.get("version") != VERSION:
        found = said.get("version") if isinstance(said, dict) else None
        raise ValueError(f"a card of format version {found!r:.20}, this facefact reads {VERSION}")
    tokens = FaceTokens.from_tensors(tensors)
    sources = _sources(said.get("sources"))
    embedding = tensors.get("embedding")
    if tokens.face.shape[0] != 1 or tokens.face.shape[1] % len(sources):
        raise ValueError(f"a damaged card: tokens {tuple(tokens.face.shape)} are not those of {len(sources)} pictures")
    if embedding is None or embedding.dtype != torch.float32 or embedding.ndim != 2 or len(embedding) != len(sources):
        raise ValueError("a damaged card: its embedding is not that of its pictures")
    if not embedding.isfinite().all():
        raise ValueError("a damaged card: its embedding is no numbers")
    encoder = said.get("encoder")
    if not isinstance(encoder, str) or len(encoder) != 64 or not set(encoder) <= set("0123456789abcdef"):
        raise ValueError("a damaged card: it does not say which encoder made it")
    return Card(
        tokens=tokens,
        embedding=embedding,
        sources=sources,
        encoder=encoder,
        **{what: _text(said.get(what), what) for what in MOST_LETTERS},
        made=_day(said.get("made"), "made"),
        expires=None if said.get("expires") is None else _day(said["expires"], "expires"),
        thumbnail=_thumbnail(tensors.get("thumbnail")),
        avatar=_avatar(said.get("avatar")),
        file=file,
    )


def _sources(said: Any) -> tuple[Source, ...]:
    if not isinstance(said, list) or not 1 <= len(said) <= MOST_PHOTOS:
        raise ValueError(f"a card holds 1 to {MOST_PHOTOS} pictures of a person")
    try:
        return tuple(
            Source(_kind(one["kind"]), _number(one["quality"]), Pose(**{k: _number(v) for k, v in one["pose"].items()}))
            for one in said
        )
    except (KeyError, TypeError, AttributeError):
        raise ValueError("a damaged card: what it says of its pictures makes no sense") from None


def _kind(said: Any) -> str:
    if said not in KINDS:
        raise ValueError(f"a damaged card: its pictures are none of {', '.join(KINDS)}")
    return said


def _number(said: Any) -> float:
    if isinstance(said, bool) or not isinstance(said, int | float) or not -1e6 < said < 1e6:
        raise ValueError("a damaged card: a number is none")
    return float(said)


def _text(said: Any, what: str) -> str:
    """Letters that a terminal may show: control characters could make a line say what it does not."""
    most = MOST_LETTERS[what]
    if not isinstance(said, str) or len(said) > most or not said.isprintable():
        raise ValueError(f"the {what} of a card is one line of up to {most} letters")
    return said


def _day(said: Any, what: str) -> date:
    try:
        return date.fromisoformat(said)
    except (TypeError, ValueError):
        raise ValueError(f"a damaged card: no day when it {what}") from None


def _thumbnail(said: Tensor | None) -> bytes | None:
    if said is None:
        return None
    if said.dtype != torch.uint8 or said.ndim != 1 or not 0 < len(said) <= MOST_THUMBNAIL:
        raise ValueError(f"the thumbnail of a card is a JPEG of up to {MOST_THUMBNAIL >> 10} KiB")
    return said.numpy().tobytes()


def _avatar(said: Any) -> dict[str, Any] | None:
    """{"factors": {name: number}, "hair": words, "glasses": words}: its words are checked where they are used."""
    if said is None:
        return None
    try:
        factors = {str(name)[:40]: _number(value) for name, value in said["factors"].items()}
        words = {name: said[name] for name in ("hair", "glasses")}
    except (KeyError, TypeError, AttributeError):
        raise ValueError("a damaged card: what it says of its avatar makes no sense") from None
    if len(factors) > 64 or not all(isinstance(one, str) and len(one) <= 80 for one in words.values()):
        raise ValueError("a damaged card: what it says of its avatar makes no sense")
    return {"factors": factors, **words}

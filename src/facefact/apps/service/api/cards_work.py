"""What the process that looks at photos does with identity cards: makes, reads, shows and merges them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.apps.service.api.photos_tools import Tools
from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.encoder import Card


def check_card(content: bytes) -> None:
    """UserError: damaged, expired, or none."""
    from facefact.encoder import load_card

    load_card(content, name="the card")


def looked_at(tools: Tools, content: bytes) -> dict[str, Any]:
    """What a card says, in plain types; one that has expired too. fits: whether this service's encoder made it.
    thumbnail: a JPEG in base64. UserError: damaged, or none."""
    from facefact.encoder import load_card
    from facefact.encoder.card import encoder_hash
    from facefact.faces import open_picture

    card = load_card(content, name="the card", even_expired=True)
    if card.thumbnail is not None:
        open_picture(card.thumbnail, name="the thumbnail of the card", max_pixels=1 << 20)
    return card.said() | {"fits": card.encoder == encoder_hash(tools.adapter.encoder, tools.adapter.resampler)}


def merged_card(tools: Tools, said: dict[str, Any], cards: Sequence[bytes]) -> bytes:
    """The file of one card of all their photos. said: name. The log says so where they look like two people. UserError:
    one is none or has expired, or they were made with different encoders."""
    from facefact.encoder import load_card
    from facefact.encoder.blend import check_together, merge_cards
    from facefact.generate.strangers import warn_of_other_people

    found = [load_card(content, name=f"card {number}") for number, content in enumerate(cards, 1)]
    found = [replace(card, file="") if card.name else card for card in found]
    check_together(found)
    warn_of_other_people(found)
    return written(tools, merge_cards(found, name=said["name"] or None))


def written(tools: Tools, card: Card) -> bytes:
    from facefact.encoder import save_card

    folder = Path(tempfile.mkdtemp(dir=tools.opening.scratch))
    try:
        save_card(card, folder / "card.safetensors")
        return (folder / "card.safetensors").read_bytes()
    except UserError as error:
        raise UserError(str(error).replace(f"{folder}/", "")) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def made_card(tools: Tools, said: dict[str, Any], photos: Sequence[bytes], warned: list[str]) -> bytes:
    """The card's file. said: which, name, consent, expires (a day), thumbnail. UserErrors as `make_card`."""
    from facefact.generate.cards import make_card
    from facefact.generate.studio import public_name

    opening = tools.opening
    folder = Path(tempfile.mkdtemp(dir=opening.scratch))
    try:
        paths = [folder / f"photo {number}" for number in range(1, len(photos) + 1)]
        for path, photo in zip(paths, photos, strict=True):
            path.write_bytes(photo)
        card = make_card(
            paths,
            adapter=tools.adapter,
            adapter_name=public_name(opening.adapter or opening.model),
            detector=tools.detector,
            which=int(said["which"]),
            model=opening.model,
            name=said["name"],
            consent=said["consent"],
            expires=date.fromisoformat(said["expires"]) if said["expires"] else None,
            thumbnail=bool(said["thumbnail"]),
        )
        warned[:] = [line.replace(f"{folder}/", "") for line in warned]
        return written(tools, card)
    except UserError as error:
        raise UserError(str(error).replace(f"{folder}/", "")) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)

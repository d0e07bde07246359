"""Identity cards on disk: what goes in comes out, and what is none is said in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from cards import a_card
from facefact import FaceTokens, UserError
from facefact.encoder import Card, load_card, save_card
from facefact.encoder.card import FORMAT, check_encoder, encoder_hash, is_card, today
from facefact.files import read_tensors, write_tensors

AVATAR = {"factors": {"skin_tone": 0.25}, "hair": "with short black hair", "glasses": ""}


@pytest.fixture
def card() -> Card:
    return a_card(
        pictures=2, name="Ada", consent="portraits, until spring", expires=today(), thumbnail=b"\xff\xd8", avatar=AVATAR
    )


def test_a_card_comes_back_whole(card: Card, tmp_path: Path) -> None:
    path = tmp_path / "new" / "ada.safetensors"
    save_card(card, path)
    for source in (path, path.read_bytes()):
        loaded = load_card(source)
        for name in ("name", "consent", "made", "expires", "encoder", "adapter", "sources", "thumbnail", "avatar"):
            assert getattr(loaded, name) == getattr(card, name), name
        assert torch.equal(loaded.tokens.face, card.tokens.face)
        assert torch.equal(loaded.tokens.null, card.tokens.null)
        assert torch.equal(loaded.embedding, card.embedding)
    assert load_card(path).called == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert torch.equal(FaceTokens.load(path).face, card.tokens.face), "its tokens alone"


def test_the_same_card_is_the_same_file(card: Card, tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        save_card(card, tmp_path / name)
    save_card(load_card(tmp_path / "a.safetensors"), tmp_path / "c.safetensors")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_it_has_a_few_kilobytes(adapter: Any, tmp_path: Path) -> None:
    face = torch.randn(1, 16, 768)
    whole = replace(a_card(), tokens=FaceTokens(face, face.clone()), embedding=torch.randn(1, 512))
    save_card(whole, tmp_path / "sd15.safetensors")
    assert (tmp_path / "sd15.safetensors").stat().st_size < 103_000  # 2 x 16 x 768 numbers, 512, and what is said


def test_an_expired_card_is_refused(card: Card, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_card(replace(card, expires=today() - timedelta(days=1)), path)
    with pytest.raises(UserError, match=r"a\.safetensors: this card expired on .*facefact card make"):
        load_card(path)
    assert load_card(path, even_expired=True).expired
    save_card(card, path)
    assert not load_card(path).expired, "the last day counts"


def test_cards_are_told_from_pictures(card: Card, tmp_path: Path) -> None:
    save_card(card, tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").rename(tmp_path / "a.jpg")
    (tmp_path / "half.safetensors").write_bytes(b"\xff\xff\xff")
    assert is_card(tmp_path / "a.jpg"), "by what is in it"
    assert is_card(tmp_path / "half.safetensors"), "to hear what is wrong with it"
    assert not is_card(tmp_path / "b.jpg")


def changed(path: Path, name: str, value: Any) -> None:
    tensors, metadata = read_tensors(path)
    said = json.loads(metadata[FORMAT])
    write_tensors(path, tensors, {FORMAT: json.dumps(said | {name: value})})


SOURCE = {"kind": "photo", "quality": 1.0, "pose": {"yaw": 0, "pitch": 0, "roll": 0}}
DAMAGED = {
    "version": (2, "format version 2, this facefact reads 1"),
    "encoder": ("none", "which encoder made it"),
    "adapter": (7, "the adapter of a card is one line"),
    "name": ("\x1b[2J", "the name of a card is one line"),
    "consent": ("x" * 3000, "up to 2000 letters"),
    "made": ("yesterday", "no day when it made"),
    "expires": (12, "no day when it expires"),
    "avatar": ({"factors": 1}, "what it says of its avatar"),
    "sources": ([SOURCE] * 3, "are not those of 3 pictures"),
}
SOURCES: dict[str, Any] = {
    "none": [],
    "many": [SOURCE] * 100,
    "another kind": [SOURCE | {"kind": "cat"}] * 2,
    "not a number": [SOURCE | {"quality": float("nan")}] * 2,
    "a number too many": [SOURCE | {"pose": {"yaw": 0, "pitch": 0, "roll": 0, "more": 0}}] * 2,
    "no numbers": [SOURCE | {"pose": "left"}] * 2,
    "nothing": [1, 2],
    "no list": "photos",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_card_is_one_line(name: str, card: Card, tmp_path: Path) -> None:
    path = tmp_path / "ada.safetensors"
    save_card(card, path)
    changed(path, name, DAMAGED[name][0])
    with pytest.raises(UserError, match=rf"ada\.safetensors: [^\n]*{DAMAGED[name][1]}"):
        load_card(path)


@pytest.mark.parametrize("name", SOURCES)
def test_damaged_sources_are_one_line(name: str, card: Card, tmp_path: Path) -> None:
    path = tmp_path / "ada.safetensors"
    save_card(card, path)
    changed(path, "sources", SOURCES[name])
    with pytest.raises(UserError, match=r"ada\.safetensors: [^\n]+$"):
        load_card(path)


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        ("embedding", None),
        ("embedding", torch.zeros(1, 6)),
        ("embedding", torch.full((2, 6), torch.inf)),
        ("face", torch.zeros(2, 4, 8)),
        ("face", torch.full((1, 8, 8), torch.nan)),
        ("null", None),
        ("thumbnail", torch.zeros(1 << 17, dtype=torch.uint8)),
        ("thumbnail", torch.zeros(2)),
    ],
)
def test_damaged_tensors_are_one_line(tensor: str, value: Any, card: Card, tmp_path: Path) -> None:
    path = tmp_path / "ada.safetensors"
    save_card(card, path)
    tensors, metadata = read_tensors(path)
    tensors.pop(tensor)
    write_tensors(path, tensors | ({} if value is None else {tensor: value}), metadata)
    with pytest.raises(UserError, match=r"ada\.safetensors: [^\n]+$"):
        load_card(path)


def test_every_cut_is_one_line(card: Card, tmp_path: Path) -> None:
    save_card(card, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    for length in range(0, len(whole), 37):
        with pytest.raises(UserError, match=r"^ada: [^\n]+$"):
            load_card(whole[:length], name="ada")


def test_every_flipped_byte_is_a_card_or_one_line(card: Card, tmp_path: Path) -> None:
    save_card(card, tmp_path / "a.safetensors")
    whole = bytearray((tmp_path / "a.safetensors").read_bytes())
    refused = 0
    for place in range(0, len(whole), 3):
        broken = bytearray(whole)
        broken[place] ^= 0xA5
        said = why_not(bytes(broken))
        refused += bool(said)
        assert "\n" not in said
    assert refused > 20


def why_not(data: bytes) -> str:
    """ "" of what is a card."""
    try:
        load_card(data, even_expired=True)
    except UserError as error:
        return str(error)
    return ""


def test_other_safetensors_are_no_cards(tmp_path: Path) -> None:
    write_tensors(tmp_path / "lora.safetensors", {"a": torch.zeros(2)}, {"format": "pt"})
    with pytest.raises(UserError, match=r"lora\.safetensors: no identity card; `facefact card make`"):
        load_card(tmp_path / "lora.safetensors")
    with pytest.raises(UserError, match="there is no such file"):
        load_card(tmp_path / "none.safetensors")


def test_what_a_card_does_not_hold_is_not_written(tmp_path: Path) -> None:
    for said in ({"name": "two\nlines"}, {"consent": "x" * 3000}, {"thumbnail": b"x" * (1 << 17)}):
        with pytest.raises(UserError, match="cannot write"):
            save_card(a_card(**said), tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_the_encoders_hash_is_of_all_that_makes_tokens(adapter: Any) -> None:
    def own() -> str:
        return encoder_hash(adapter.encoder, adapter.resampler)

    before = own()
    pruned = adapter.with_blocks(list(adapter.layers.configs)[:1])
    assert encoder_hash(pruned.encoder, pruned.resampler) == before, "the layers do not count"
    adapter.half()
    in_half = own()
    adapter.float()
    assert own() == in_half, "nor does the type of the same values"
    adapter.resampler.latents.data[0] += 1
    assert own() != in_half
    with pytest.raises(UserError, match=r"made with another face encoder \(of demo \(abababab"):
        check_encoder(a_card(), own())
    check_encoder(a_card(encoder=own()), own())

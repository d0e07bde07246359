"""Cards stand wherever photos do: the same person, the same picture, the same warnings."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facefact import FaceAdapter, FaceTokens, UserError
from facefact.demo import bundle_path
from facefact.encoder import Card, save_card
from facefact.encoder.card import encoder_hash, load_card, today
from facefact.faces import Detector, get_detector
from facefact.generate import FaceCache, Settings, Studio, file_hash, find_person, tokens_of
from facefact.generate.cards import make_card
from facefact.generate.strangers import warn_of_other_people, warn_of_strangers
from facefact.world import look, person, render


@pytest.fixture(scope="module")
def demo_adapter() -> FaceAdapter:
    """The bundle's, whose encoder knows avatars apart."""
    return FaceAdapter.from_pretrained(bundle_path() / "adapter")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return get_detector("avatar")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demo_adapter: FaceAdapter, detector: Detector) -> Path:
    """ada-0.png to ada-2.png, bob-0.png, and cards of ada-0 and bob-0."""
    where = tmp_path_factory.mktemp("people")
    for name, number, pictures in (("ada", 81, 3), ("bob", 82, 1)):
        for i in range(pictures):
            drawn = render(person(number), look(90 + i, glasses="none"), size=160).image
            Image.fromarray(drawn).save(where / f"{name}-{i}.png")
        made = make_card([where / f"{name}-0.png"], adapter=demo_adapter, adapter_name="demo", detector=detector)
        save_card(made, where / f"{name}.safetensors")
    return where


def test_a_card_gives_the_photos_tokens(folder: Path, demo_adapter: FaceAdapter, detector: Detector) -> None:
    by_photo = tokens_of(find_person([folder / "ada-0.png"], detector=detector), demo_adapter)
    by_card = tokens_of(find_person([folder / "ada.safetensors"]), demo_adapter)
    assert torch.equal(by_photo.face, by_card.face)
    assert torch.equal(by_photo.null, by_card.null)


def test_photos_and_cards_of_one_person_are_joined(folder: Path, demo_adapter: FaceAdapter, detector: Detector) -> None:
    files = [folder / name for name in ("ada.safetensors", "ada-1.png", "ada-2.png")]
    found = find_person(files, detector=detector)
    photos = demo_adapter.encode(files[1:], detector=detector)
    joined = tokens_of(found, demo_adapter)
    assert torch.equal(joined.face, torch.cat([photos.face, load_card(files[0]).tokens.face], 1))
    assert joined.null.shape == joined.face.shape
    assert found.origin == {"faces": [file_hash(one) for one in files], "which": 0, "cards": [file_hash(files[0])]}
    assert found.names == tuple(map(str, files[1:]))
    assert torch.equal(FaceCache(demo_adapter, detector=detector)(*files).face, joined.face)


def test_a_card_is_told_by_what_is_in_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ada.png").write_bytes((folder / "ada.safetensors").read_bytes())
    assert len(find_person([tmp_path / "ada.png"]).cards) == 1


def test_a_studio_takes_cards_and_says_so(pipe: object, demo_adapter: FaceAdapter, folder: Path) -> None:
    class Nobody:
        name, licence = "nobody", ""

        def detect(self, picture: np.ndarray) -> list[object]:
            raise AssertionError("a card needs no detector")

    studio = Studio(pipe, demo_adapter, detector=Nobody())  # type: ignore[arg-type]
    found = studio.find_person([folder / "ada.safetensors"])
    assert torch.equal(studio.tokens(found).face, load_card(folder / "ada.safetensors").tokens.face)


def test_the_recipe_says_the_cards_hash(pipe: object, adapter: FaceAdapter, folder: Path, tmp_path: Path) -> None:
    own = encoder_hash(adapter.encoder, adapter.resampler)
    tokens = adapter.tokens(torch.zeros(1, 3, 112, 112))
    path = tmp_path / "ada.safetensors"
    save_card(replace(load_card(folder / "ada.safetensors"), tokens=tokens, encoder=own), path)
    studio = Studio(pipe, adapter)
    found = studio.find_person([path])
    made = studio.text_to_image(studio.tokens(found), Settings(prompt="a coat", steps=1), origin=found.origin)
    assert made.recipe["cards"] == made.recipe["faces"] == [file_hash(path)]


def test_another_encoders_card_is_refused_by_name(folder: Path, adapter: FaceAdapter) -> None:
    with pytest.raises(UserError, match=r"ada\.safetensors: this card was made with another face encoder \(of demo"):
        tokens_of(find_person([folder / "ada.safetensors"]), adapter)


def test_a_card_that_lies_about_its_encoder_is_one_line(folder: Path, adapter: FaceAdapter, tmp_path: Path) -> None:
    card = replace(load_card(folder / "ada.safetensors"), encoder=encoder_hash(adapter.encoder, adapter.resampler))
    save_card(card, tmp_path / "ada.safetensors")
    with pytest.raises(UserError, match=r"ada\.safetensors: a damaged card: its tokens are not 32 wide"):
        tokens_of(find_person([tmp_path / "ada.safetensors"]), adapter)


def test_expired_and_other_safetensors_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    card = load_card(folder / "ada.safetensors")
    save_card(replace(card, expires=today() - timedelta(days=1)), tmp_path / "old.safetensors")
    FaceTokens(card.tokens.face, card.tokens.null).save(tmp_path / "tokens.safetensors")
    for name, said in (("old", "expired on"), ("tokens", "no identity card"), ("none", "there is no such file")):
        with pytest.raises(UserError, match=rf"{name}\.safetensors: .*{said}"):
            find_person([tmp_path / f"{name}.safetensors"])
    with pytest.raises(UserError, match="a card holds one face"):
        find_person([folder / "ada.safetensors"], which=1)


def test_strangers_among_photos_and_cards_are_named(
    folder: Path, demo_adapter: FaceAdapter, detector: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    def strangers(*names: str) -> list[int]:
        caplog.clear()
        found = find_person([folder / name for name in names], detector=detector)
        return warn_of_strangers(found.names, found.crops, encoder=demo_adapter.encoder, cards=found.cards)

    assert strangers("ada-1.png", "ada-2.png", "ada.safetensors") == []
    assert strangers("ada-1.png", "ada.safetensors") == strangers("ada.safetensors") == []
    assert not caplog.records
    assert strangers("ada-1.png", "bob.safetensors", "ada-2.png") == [2]
    assert "bob.safetensors seems to show somebody else" in caplog.text
    assert strangers("bob-0.png", "ada.safetensors") == [0, 1]
    assert "two different people" in caplog.text


def test_cards_of_two_people_are_noticed_without_a_model(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    ada, bob = (load_card(folder / f"{name}.safetensors") for name in ("ada", "bob"))
    with caplog.at_level(logging.WARNING):
        assert warn_of_other_people([ada]) == warn_of_other_people([ada, ada]) == []
        assert not caplog.records
        assert warn_of_other_people([ada, bob]) == [0, 1]
    assert "ada.safetensors" in caplog.text


# What a card keeps of an avatar that stands in for photos


@pytest.fixture
def drawn(folder: Path) -> Card:
    worn = {"factors": {"skin_tone": 0.5}, "hair": "with short black hair", "glasses": "wearing round glasses"}
    return replace(load_card(folder / "ada.safetensors"), avatar=worn)


def test_the_demo_models_prompts_get_the_cards_words(drawn: Card, tmp_path: Path) -> None:
    save_card(drawn, tmp_path / "ada.safetensors")
    found = find_person([tmp_path / "ada.safetensors"], model="demo")
    assert found.origin["avatar"] == {"skin_tone": 0.5}
    (asked,) = found.prompts(["portrait of a person, smiling"])
    assert asked == "portrait of a person, with short black hair, smiling, wearing round glasses"
    other = find_person([tmp_path / "ada.safetensors"], model="sd15")
    assert other.prompts(["smiling"]) == ["smiling"]


def test_words_that_the_world_has_not_are_refused(drawn: Card, tmp_path: Path) -> None:
    for name, value in (("hair", "with a sword"), ("glasses", "round"), ("factors", {"height": 2.0})):
        save_card(replace(drawn, avatar={**(drawn.avatar or {}), name: value}), tmp_path / "ada.safetensors")
        with pytest.raises(UserError, match=r"ada\.safetensors: a damaged card: .*no words for"):
            find_person([tmp_path / "ada.safetensors"], model="demo")

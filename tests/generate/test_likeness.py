"""How like a person pictures are: by photos and by cards, with the shipped calibration."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact import FaceAdapter
from facefact.data.recognisers import AVATAR_ENCODER, TransFaceRecogniser
from facefact.encoder import save_card
from facefact.faces import get_detector
from facefact.generate import find_person
from facefact.generate.cards import make_card
from facefact.generate.likeness import calibrations, encoder_name, own_calibrations, similarities
from facefact.metrics.likeness import AS_ONE, AS_STRANGERS, load_calibrations, save_calibrations
from facefact.world import look, person, render


def test_a_card_and_a_photo_say_the_same_and_it_means_what_it_says(tmp_path: Path) -> None:
    adapter, detector = FaceAdapter.from_pretrained(AVATAR_ENCODER), get_detector("avatar")
    photo = tmp_path / "a.png"
    Image.fromarray(render(person(81), look(90, glasses="none"), size=160).image).save(photo)
    save_card(make_card([photo], adapter=adapter, detector=detector), tmp_path / "a.safetensors")
    pictures = [render(person(number), look(91, glasses="none"), size=160).image for number in (81, 82)]
    pictures.append(np.zeros((64, 64, 3), np.uint8))
    by_photo, by_card = (
        similarities(find_person([path], detector=detector), pictures, adapter=adapter, detector=detector)
        for path in (photo, tmp_path / "a.safetensors")
    )
    np.testing.assert_allclose(by_photo, by_card, rtol=1e-5)
    assert encoder_name(adapter.encoder) == TransFaceRecogniser(AVATAR_ENCODER).name
    calibration = load_calibrations()[encoder_name(adapter.encoder)]
    assert [calibration.in_words(one) for one in by_card] == [AS_ONE, AS_STRANGERS, ""]


def test_what_the_user_measured_counts_beside_what_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FACEFACT_HOME", str(tmp_path))
    shipped = load_calibrations()
    assert calibrations() == shipped
    name, one = next(iter(shipped.items()))
    mine = [replace(one, recogniser="mine"), replace(one, people=7)]
    save_calibrations(mine, own_calibrations())
    assert calibrations() == shipped | {"mine": mine[0], name: mine[1]}
    own_calibrations().write_text("{}")
    with caplog.at_level(logging.WARNING):
        assert calibrations() == shipped
    assert "likeness.json is no calibration" in caplog.text

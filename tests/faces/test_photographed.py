"""Photos that the avatar detector takes for avatars, and avatars that stay avatars."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.faces import get_detector, mediapipe, open_picture
from facefact.faces.crop import face_from_landmarks
from facefact.faces.photographed import TEXTURE, UNSURE, photographed, texture
from facefact.world import look, person, render

SHARED = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[3] / "shared")
MISTAKEN = SHARED / "data" / "lfw_small" / "Fujio_Cho" / "Fujio_Cho_0001.jpg"


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "JPEG", quality=75)
    return np.asarray(Image.open(written))


@pytest.mark.parametrize("size", [128, 256])
def test_renders_are_flat_and_the_detector_is_sure_of_them(size: int) -> None:
    detector = get_detector("avatar")
    for seed in range(4):
        drawn = render(person(seed), look(seed), size=size)
        assert texture(drawn.image, drawn.landmarks) < 1
        assert texture(as_jpeg(drawn.image), drawn.landmarks) < TEXTURE
        (face,) = detector.detect(drawn.image)
        assert not photographed(drawn.image, face)


def test_both_have_to_say_so() -> None:
    drawn = render(person(0), look(0), size=128)
    rough = np.random.default_rng(0).integers(0, 256, drawn.image.shape, np.uint8)
    face = replace(face_from_landmarks(drawn.landmarks), score=UNSURE - 0.001)
    assert photographed(rough, face)
    assert not photographed(drawn.image, face)
    assert not photographed(rough, replace(face, score=UNSURE))


def test_a_photo_that_the_avatar_detector_takes_for_an_avatar_is_a_photo() -> None:
    if not MISTAKEN.is_file() or not mediapipe.available():
        pytest.skip("no photos of faces, or no MediaPipe")
    picture = open_picture(MISTAKEN)
    assert get_detector("avatar").detect(picture)
    assert get_detector().detect(picture)[0].backend == "mediapipe"

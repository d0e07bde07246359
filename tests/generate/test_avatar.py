"""Photos for the demo model: an avatar stands in for them, and pictures of avatars go the way that they went."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.faces import TEMPLATE, Detector, face_crop, face_from_landmarks, get_detector
from facefact.faces.photographed import texture
from facefact.generate import Person, find_person
from facefact.generate.avatar import Avatar, worded, words
from facefact.types import Face
from facefact.world import IDENTITY, look, person, render

WORN = {"hair": "long", "hair_colour": "black", "glasses": "round"}


def avatar(**choices: str) -> Avatar:
    hair, glasses = words(choices)
    return Avatar(crop=None, factors={}, hair=hair, glasses=glasses)  # type: ignore[arg-type]


class Photographer:
    """Finds the face of one render, as a detector for photos finds that of a photo."""

    name, licence = "photos", ""

    def __init__(self, landmarks: np.ndarray) -> None:
        self.face = face_from_landmarks(landmarks, backend=self.name)

    def detect(self, picture: np.ndarray) -> list[Face]:
        return [self.face]

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        return np.ones(picture.shape[:2], bool)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(render(person(3), look(4, pose="front", hat="none"), size=160).image).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture
def photographer() -> Detector:
    return Photographer(render(person(3), look(4, pose="front", hat="none"), size=160).landmarks)


def test_a_picture_of_an_avatar_goes_the_direct_way_bit_for_bit(
    picture: Path, caplog: pytest.LogCaptureFixture
) -> None:
    detector = get_detector()
    found = find_person([picture], detector=detector, model="demo")
    (crop,) = found.crops
    np.testing.assert_array_equal(crop.pixels, face_crop(picture, detector=get_detector("avatar")).pixels)
    assert found.avatar is None
    assert set(found.origin) == {"faces", "which"}
    assert found.prompts(["portrait of a person"]) == ["portrait of a person"]
    assert not caplog.text


def test_a_photo_becomes_an_avatar_and_the_recipe_says_which(
    picture: Path, photographer: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    found = find_person([picture, picture], detector=photographer, model="demo")
    assert found.avatar is not None
    assert found.crops == [found.avatar.crop]
    assert set(found.origin["avatar"]) == set(IDENTITY)
    assert caplog.text.count("one was drawn from the photo") == 1
    assert found.origin == find_person([picture, picture], detector=photographer, model="demo").origin
    assert texture(found.avatar.crop.pixels, TEMPLATE) < 1  # flat: the encoder is given a drawing


def test_other_models_get_the_photo_itself(picture: Path, photographer: Detector) -> None:
    found = find_person([picture], detector=photographer, model="sd15")
    np.testing.assert_array_equal(found.crops[0].pixels, face_crop(picture, detector=photographer).pixels)
    assert found.avatar is None


def test_avatars_and_photos_together(picture: Path, tmp_path: Path, photographer: Detector) -> None:
    class Both(Photographer):
        def detect(self, picture: np.ndarray) -> list[Face]:
            backend = "avatar" if picture.shape[0] == 160 else "photos"
            return [face_from_landmarks(self.face.landmarks, backend=backend)]

    Image.open(picture).resize((200, 200)).save(tmp_path / "photo.png")
    found = find_person([tmp_path / "photo.png", picture], detector=Both(photographer.face.landmarks), model="demo")  # type: ignore[attr-defined]
    assert found.avatar is not None
    assert found.crops[1] is found.avatar.crop
    assert len(found.origin["faces"]) == len(found.crops) == 2


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        (
            "portrait of a person, smiling, in a red hoodie, at the beach",
            "portrait of a person, with long black hair, smiling, wearing round glasses, in a red hoodie, at the beach",
        ),
        ("Portrait of a person", "Portrait of a person, with long black hair, wearing round glasses"),
        ("smiling in the snow", "smiling in the snow, with long black hair, wearing round glasses"),
        ("with short red hair, smiling", "with short red hair, smiling, wearing round glasses"),
        (
            "portrait of a person, bald, wearing dark sunglasses",
            "portrait of a person, bald, wearing dark sunglasses",
        ),
        (
            "portrait of a person, with a straw hat, daylight",
            "portrait of a person, with long black hair, wearing round glasses, with a straw hat, daylight",
        ),
    ],
)
def test_what_a_prompt_does_not_name_the_photo_says(prompt: str, wanted: str) -> None:
    assert worded(avatar(**WORN), prompt) == wanted
    assert worded(avatar(**WORN), wanted) == wanted  # a recipe's prompt is made again as it is
    assert worded(avatar(), prompt) == prompt


def test_what_was_added_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    one = Person([], {}, avatar(**WORN))
    one.prompts(["smiling", "with short red hair"])
    assert caplog.messages == [
        "the photo shows long black hair and round glasses: added to the prompt "
        "(name hair, glasses or a hat in --prompt to choose yourself)"
    ]
    caplog.clear()
    one.prompts(["with short red hair, wearing square glasses"])
    assert caplog.messages == []
    Person([], {}, avatar(glasses="round")).prompts(["with red hair, wearing square glasses"])
    assert caplog.messages == []
    Person([], {}, avatar()).prompts(["smiling"])
    assert "cannot be told for sure" in caplog.text


def test_a_bald_head_has_no_colour() -> None:
    assert words({"hair": "bald"}) == ("with a bald head", "")

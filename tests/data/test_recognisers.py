"""Recognisers tell people apart: avatars with the bundle's networks, photos with dlib where both are here."""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facefact.data import recognisers
from facefact.data.prepare_config import PeopleSettings
from facefact.data.recognisers import AVATAR_ENCODER, BATCH, Recogniser, open_recogniser, unit, which_recogniser
from facefact.data.records import Unfit
from facefact.encoder import TransFace, TransFaceConfig
from facefact.encoder.files import save_transface
from facefact.faces import face_crop_from, face_from_landmarks, get_detector, open_picture
from facefact.types import UserError
from facefact.world import HELD_OUT, look, person, render
from onnx_file import pooled_colours

JUDGE = AVATAR_ENCODER.parents[1] / "judges" / "recogniser"
SHARED = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[3] / "shared")
YUNET = Path(os.environ.get("FACEFACT_YUNET") or SHARED / "models" / "yunet_n_640_640.onnx")
PHOTOS = SHARED / "data" / "lfw_small"


@cache
def opened(name: str) -> Recogniser:
    if name == "dlib" and (lack := recognisers.dlib_lacks()):
        pytest.skip(lack)
    found = open_recogniser(PeopleSettings(recogniser=name))
    assert found is not None
    return found


def separated(same: np.ndarray, different: np.ndarray) -> float:
    """The share of pairs of two pairs that are in the right order: the area under the ROC curve."""
    return float((same[:, None] < different[None]).mean())


def distances(embeddings: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    apart = np.linalg.norm(embeddings[:, None] - embeddings[None], axis=-1)
    upper = np.triu(np.ones_like(apart, bool), 1)
    same = people[:, None] == people[None]
    return apart[upper & same], apart[upper & ~same]


@pytest.mark.parametrize("directory", [AVATAR_ENCODER, JUDGE], ids=["adapter", "judge"])
def test_a_transface_tells_avatars_apart_with_or_without_the_crop(directory: Path) -> None:
    recogniser = opened(str(directory))
    views: dict[bool, list[np.ndarray]] = {False: [], True: []}
    for number in range(36):
        drawn = render(person(HELD_OUT + 500 + number // 3), look(number), size=160)
        face = face_from_landmarks(drawn.landmarks)
        crop = face_crop_from(drawn.image, landmarks=drawn.landmarks, head=drawn.head).pixels
        views[False].append(recogniser.view(drawn.image, face))
        views[True].append(recogniser.view(drawn.image, face, crop=crop))
    for shown in views.values():
        vectors = np.stack([unit(one) for one in recogniser.embed(shown)])
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        same, different = distances(vectors, np.arange(36) // 3)
        assert separated(same, different) > 0.97
        assert np.median(same) < recogniser.cluster < recogniser.outlier < np.median(different)


@pytest.mark.parametrize("name", [str(AVATAR_ENCODER), "dlib"])
def test_a_face_has_the_same_numbers_whoever_is_beside_it(name: str) -> None:
    recogniser = opened(name)
    side = 150 if name == "dlib" else 112
    views = list(np.random.default_rng(0).integers(0, 256, (BATCH + 3, side, side, 3), np.uint8))
    together = recogniser.embed(views)
    assert len(together) == BATCH + 3
    np.testing.assert_array_equal(together[BATCH + 1], recogniser.embed(views[BATCH + 1 :])[0])
    np.testing.assert_array_equal(together[::-1], recogniser.embed(views[::-1]))


def test_the_name_of_a_transface_is_that_of_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = TransFaceConfig(patch_size=56, width=8, depth=1, heads=1, embedding_size=4)
    save_transface(TransFace(config), tmp_path / "one")
    save_transface(TransFace(config), tmp_path / "run" / "encoder")
    one, same, other = (
        open_recogniser(PeopleSettings(recogniser=str(place), outlier=1, cluster=1))
        for place in (tmp_path / "one", tmp_path / "one", tmp_path / "run")
    )
    assert one is not None
    assert same is not None
    assert other is not None
    assert one.name == same.name != other.name
    assert str(tmp_path) not in one.name + one.licence


def test_an_encoder_without_known_distances_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        open_recogniser(PeopleSettings(recogniser=str(JUDGE), outlier=1.0))
    assert "people.cluster" in caplog.text


def test_what_cannot_be_opened_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no recogniser 'dlip'"):
        open_recogniser(PeopleSettings(recogniser="dlip"))
    with pytest.raises(UserError, match="no config.json"):
        open_recogniser(PeopleSettings(recogniser=str(tmp_path)))
    save_transface(TransFace(TransFaceConfig(64, 32, 8, 1, 1)), tmp_path / "small")
    with pytest.raises(UserError, match="faces of 64 px"):
        open_recogniser(PeopleSettings(recogniser=str(tmp_path / "small")))
    monkeypatch.setattr(recognisers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install dlib-bin"):
        open_recogniser(PeopleSettings(recogniser="dlib"))
    with pytest.raises(UserError, match="pip install onnxruntime"):
        open_recogniser(PeopleSettings(recogniser="insightface"))
    monkeypatch.setattr(recognisers, "find_spec", lambda name: name)
    monkeypatch.setattr(recognisers, "HOME", tmp_path)
    with pytest.raises(UserError, match=r"get https://.*buffalo_l\.zip .*non-commercial"):
        open_recogniser(PeopleSettings(recogniser="insightface"))


def test_insightface_is_fed_as_its_own_package_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of the same interface in the place of the pack's: mean colours of 49 squares, times a matrix."""
    pytest.importorskip("onnxruntime")
    weights = np.random.default_rng(0).normal(size=(3 * 7 * 7, 16)).astype(np.float32)
    monkeypatch.setattr(recognisers, "HOME", tmp_path)
    path = tmp_path / "models" / recognisers.PACK / recognisers.INSIGHTFACE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no network")
    with pytest.raises(UserError, match="cannot be loaded"):
        open_recogniser(PeopleSettings(recogniser="insightface"))
    path.write_bytes(pooled_colours(weights, side=112, square=16))
    recogniser = open_recogniser(PeopleSettings(recogniser="insightface"))
    assert recogniser is not None
    drawn = render(person(1), look(1), size=200)
    view = recogniser.view(drawn.image, face_from_landmarks(drawn.landmarks))
    assert view.shape == (112, 112, 3)
    squares = (view / 127.5 - 1).reshape(7, 16, 7, 16, 3).mean((1, 3)).transpose(2, 0, 1).ravel()
    found = recogniser.embed([view] * (BATCH + 1))
    np.testing.assert_allclose(found[-1], squares @ weights, atol=1e-4)


def test_auto_takes_what_is_here(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    auto = PeopleSettings()
    assert which_recogniser(auto, detector_name="avatar") == str(AVATAR_ENCODER)
    monkeypatch.setattr(recognisers, "dlib_lacks", lambda: "")
    assert which_recogniser(auto, detector_name="yunet") == "dlib"
    monkeypatch.setattr(recognisers, "dlib_lacks", lambda: "no")
    monkeypatch.setattr(recognisers, "insightface_lacks", lambda: "")
    assert which_recogniser(auto) == "insightface"
    monkeypatch.setattr(recognisers, "insightface_lacks", lambda: "no")
    with caplog.at_level(logging.WARNING):
        assert open_recogniser(auto) is None
    assert "pip install dlib-bin" in caplog.text
    assert open_recogniser(PeopleSettings(recogniser="none")) is None


def test_an_embedding_that_is_none_is_a_reason() -> None:
    np.testing.assert_allclose(unit([3, 4]), [0.6, 0.8])
    for bad in ([0, 0], [1, np.nan], [np.inf, 1]):
        with pytest.raises(Unfit, match="not recognised"):
            unit(bad)


# Photos


def photos(people: int, each: int) -> list[Path]:
    if not PHOTOS.is_dir() or not YUNET.is_file():
        pytest.skip("no photos or no YuNet model: name the folder above them in FACEFACT_SHARED")
    return [path for folder in sorted(PHOTOS.iterdir())[:people] for path in sorted(folder.iterdir())[:each]]


def test_dlib_tells_people_apart_at_its_own_distances() -> None:
    recogniser, detector = opened("dlib"), get_detector("yunet", model=YUNET)
    paths = photos(12, 3)
    pictures = [open_picture(path) for path in paths]
    views = [recogniser.view(pixels, detector.detect(pixels)[0]) for pixels in pictures]
    vectors = [unit(one) for one in recogniser.embed(views)]
    same, different = distances(np.stack(vectors), np.array([hash(path.parent) for path in paths]))
    assert separated(same, different) > 0.995
    assert np.mean(same < recogniser.cluster) > 0.9
    assert np.mean(different > recogniser.outlier) > 0.97


def test_dlib_sees_the_same_face_in_a_larger_turned_picture() -> None:
    recogniser, detector = opened("dlib"), get_detector("yunet", model=YUNET)
    pixels = open_picture(photos(1, 1)[0])
    face = detector.detect(pixels)[0]
    matrix = cv2.getRotationMatrix2D((125.0, 125.0), 20, 3.0) + np.array([[0, 0, 300], [0, 0, 280]])
    larger = cv2.warpAffine(pixels, matrix, (900, 850), flags=cv2.INTER_CUBIC)
    moved = face_from_landmarks(face.landmarks @ matrix[:, :2].T + matrix[:, 2])
    one, other = recogniser.embed([recogniser.view(pixels, face), recogniser.view(larger, moved)])
    assert np.linalg.norm(one - other) < 0.1

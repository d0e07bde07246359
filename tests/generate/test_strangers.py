"""Of several photos of one person the odd one out is named."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from PIL import Image

from facefact.data.recognisers import AVATAR_ENCODER, dlib_lacks, open_transface
from facefact.encoder import TransFace
from facefact.faces import face_crop, get_detector
from facefact.generate.strangers import warn_of_strangers
from facefact.world import look, person, render

SHARED = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[3] / "shared")
PHOTOS = SHARED / "data" / "lfw_small"


@pytest.fixture(scope="module")
def encoder() -> TransFace:
    if not AVATAR_ENCODER.is_dir():
        pytest.skip("the bundle has no face encoder")
    return open_transface(AVATAR_ENCODER)


def avatars(folder: Path, *people: int) -> list[Path]:
    """A picture for each number of a person, each in a look of its own."""
    paths = [folder / f"{number}-{i}.png" for i, number in enumerate(people)]
    for i, (path, number) in enumerate(zip(paths, people, strict=True)):
        Image.fromarray(render(person(number), look(90 + i, glasses="none"), size=160).image).save(path)
    return paths


@pytest.mark.parametrize("pair", [(81, 82), (83, 84), (85, 86), (87, 88)])
def test_another_avatar_is_named(
    pair: tuple[int, int], encoder: TransFace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    detector, (one, other) = get_detector("avatar"), pair
    paths = avatars(tmp_path, one, one, other, one)
    crops = [face_crop(path, detector=detector) for path in paths]
    with caplog.at_level(logging.WARNING):
        assert warn_of_strangers(paths, crops, encoder=encoder) == [2]
        (record,) = caplog.records
        assert str(paths[2]) in record.getMessage()
        assert "somebody else" in record.getMessage()
        caplog.clear()
        own = [path for path in paths if path != paths[2]]
        assert warn_of_strangers(own, [crop for crop in crops if crop is not crops[2]], encoder=encoder) == []
        assert warn_of_strangers(paths[:1], crops[:1], encoder=encoder) == []
        assert not caplog.records
        assert warn_of_strangers(paths[1:3], crops[1:3], encoder=encoder) == [0, 1]
    (record,) = caplog.records
    assert "two different people" in record.getMessage()


def test_another_person_among_photos_is_named(encoder: TransFace) -> None:
    """By the recogniser that is installed, whatever the encoder is made for."""
    if not PHOTOS.is_dir() or dlib_lacks():
        pytest.skip("no photos of faces (their folder's parent in FACEFACT_SHARED), or no recogniser is installed")
    model = SHARED / "models" / "yunet_n_640_640.onnx"
    detector = get_detector("yunet", model=model)
    folders = sorted(PHOTOS.iterdir())[:5]
    for folder, another in zip(folders, folders[1:], strict=False):
        paths = [*sorted(folder.iterdir())[:3], min(another.iterdir())]
        crops = [face_crop(path, detector=detector) for path in paths]
        assert warn_of_strangers(paths, crops, encoder=encoder) == [3]
        assert warn_of_strangers(paths[:3], crops[:3], encoder=encoder) == []

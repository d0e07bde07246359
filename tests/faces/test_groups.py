"""Many faces in one picture: every one is found, each once, and nobody between two people."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.faces import Detector, get_detector
from facefact.faces.choice import AVATAR_WEIGHTS
from facefact.faces.closer import Found, distinct, look_closer, tiles
from facefact.faces.mediapipe import available
from facefact.world import look, person, render

SHARED = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[3] / "shared")
PHOTOS = SHARED / "data" / "lfw_small"
CELL = 256


def test_tiles_cover_the_picture_and_share_a_third() -> None:
    found = tiles(300, 700, 200)
    assert all(x1 - x0 == y1 - y0 == 200 for x0, y0, x1, y1 in found)
    seen = np.zeros((300, 700), int)
    for x0, y0, x1, y1 in found:
        seen[y0:y1, x0:x1] += 1
    assert seen.min() == 1
    assert tiles(100, 700, 200)[0] == (0, 0, 200, 100)


def test_a_face_that_fills_the_picture_is_looked_at_once() -> None:
    asked = []

    def see(tile: tuple[int, int, int, int]) -> list[Found]:
        asked.append(tile)
        return [Found(np.array([[10.0, 10.0], [190.0, 190.0]]), 0.9)]

    assert len(look_closer((400, 500, 3), see)) == 1
    assert asked == [(0, 0, 500, 400)]


def test_one_face_seen_twice_is_one() -> None:
    whole, part = Found(np.array([[0.0, 0.0], [40.0, 40.0]]), 0.7), Found(np.array([[2.0, 2.0], [30.0, 30.0]]), 0.9)
    other = Found(np.array([[60.0, 0.0], [90.0, 40.0]]), 0.8)
    assert distinct([whole, part, other]) == [part, other]


def group(rows: int, columns: int, first: int, gap: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A picture of avatars side by side and their (n, 5, 2) landmarks."""
    size = CELL + gap
    picture = np.full((rows * size - gap, columns * size - gap, 3), 200, np.uint8)
    points = []
    for i in range(rows * columns):
        one = render(person(first + i), look(first + i), size=CELL)
        y, x = i // columns * size, i % columns * size
        picture[y : y + CELL, x : x + CELL] = one.image
        points.append(one.landmarks + (x, y))
    return picture, np.stack(points)


@pytest.fixture(scope="module", params=["avatar", "auto"])
def detector(request: pytest.FixtureRequest) -> Detector:
    if not AVATAR_WEIGHTS.is_dir():
        pytest.skip("the bundle has no avatar detector")
    return get_detector(request.param)


@pytest.mark.parametrize(
    ("rows", "columns", "gap"), [(1, 2, 0), (1, 3, 0), (1, 5, 40), (2, 1, 0), (2, 2, 0), (2, 3, 9)]
)
def test_groups_of_avatars(rows: int, columns: int, gap: int, detector: Detector) -> None:
    """A network that knows one face in a square says one between two people."""
    for first in (1000, 1100, 1200, 1300):
        picture, points = group(rows, columns, first, gap)
        faces = detector.detect(picture)
        assert len(faces) == len(points)
        apart = np.linalg.norm(np.stack([face.landmarks for face in faces])[:, None] - points, axis=-1).mean(-1)
        eyes = np.linalg.norm(points[:, 1] - points[:, 0], axis=-1)
        assert sorted(apart.argmin(1)) == list(range(len(points)))
        assert (apart.min(1) < 0.3 * eyes[apart.argmin(1)]).all()
        assert detector.head_mask(picture, faces[-1]).any()


@pytest.mark.parametrize(("name", "most"), [("mediapipe", 43), ("yunet", 46)])
def test_a_collage_of_photos(name: str, most: int) -> None:
    """42 people; behind three of them somebody else is seen."""
    model = SHARED / "models" / "yunet_n_640_640.onnx"
    if not PHOTOS.is_dir() or (name == "mediapipe" and not available()) or (name == "yunet" and not model.is_file()):
        pytest.skip("no photos of faces (their folder's parent in FACEFACT_SHARED), or the detector is not installed")
    sheet = Image.new("RGB", (2800, 2400))
    for i, folder in enumerate(sorted(PHOTOS.iterdir())[:42]):
        face = Image.open(min(folder.iterdir())).crop((45, 45, 205, 205)).resize((400, 400))
        sheet.paste(face, (i % 7 * 400, i // 7 * 400))
    faces = get_detector(name, model=model if name == "yunet" else None).detect(np.asarray(sheet))
    assert 42 <= len(faces) <= most
    cells = {(int(face.landmarks[2, 0] // 400), int(face.landmarks[2, 1] // 400)) for face in faces}
    assert len(cells) == 42

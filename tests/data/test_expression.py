"""What the mouth does: ratios that no tilt or size changes, and what is said of real faces."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facefact.data.expression import CORNERS, EYES, LIPS, expression, mouth_of
from facefact.faces import open_picture
from facefact.faces.turned import face_turned
from facefact.types import Face, Pose, UserError

SHARED = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[3] / "shared")
PHOTOS = SHARED / "data" / "lfw_small"


# By eye.
SEEN = {
    "Jimmy_Carter_0004": "smiling",
    "Goldie_Hawn_0004": "smiling",
    "Michael_Chang_0005": "mouth wide open",
    "Alvaro_Uribe_0001": "mouth open",
    "Leonid_Kuchma_0002": "mouth closed",
    "Richard_Armitage_0005": "mouth closed",
}


def mesh(*, width: float = 0.55, corners: float = 0.0, opening: float = 0.0) -> np.ndarray:
    """Eyes 100 px apart; the mouth's width, how far its corners lie above the middle between the lips, and the lips'
    distance, in eye distances."""
    points = np.zeros((478, 2))
    points[list(EYES)] = [[50, 80], [150, 80]]
    points[list(CORNERS)] = [[100 - 50 * width, 150 - 100 * corners], [100 + 50 * width, 150 - 100 * corners]]
    points[list(LIPS)] = [[100, 150 - 50 * opening], [100, 150 + 50 * opening]]
    return points


def face(points: np.ndarray | None, *, yaw: float = 0.0) -> Face:
    return Face((50, 50, 150, 190), np.zeros((5, 2), np.float32), 1.0, Pose(yaw, 0, 0), mesh=points)


def test_the_ratios_are_what_was_put_in() -> None:
    mouth = mouth_of(mesh(width=0.7, corners=0.06, opening=0.2))
    assert mouth.width == pytest.approx(0.7)
    assert mouth.raised == pytest.approx(0.06 + 0.5 * 0.15)
    assert mouth.raised_above == pytest.approx(mouth.raised - 0.1)
    assert mouth.opening == pytest.approx(0.2 / 0.7)


def test_no_tilt_size_or_place_changes_them() -> None:
    plain = mesh(width=0.7, corners=0.06, opening=0.2)
    angle = np.radians(25)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(
        list(vars(mouth_of(3.3 * plain @ turn + [40, -7])).values()), list(vars(mouth_of(plain)).values())
    )


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (mesh(), "mouth closed"),
        (mesh(width=0.7, corners=0.06), "smiling"),
        (mesh(width=0.72, corners=0.09, opening=0.15), "smiling"),
        (mesh(opening=0.2), "mouth open"),
        (mesh(opening=0.4), "mouth wide open"),
        (mesh(width=0.5, corners=0.14, opening=0.3), "mouth wide open"),  # corners up because the lip went down
        (mesh(opening=0.06), ""),
        (None, ""),
    ],
)
def test_what_is_said(points, said) -> None:
    assert expression(face(points)) == said
    assert expression(face(points, yaw=45.0)) == ""


def test_a_turned_picture_turns_the_mesh_along() -> None:
    upright = face(mesh(width=0.7, corners=0.06))
    landmarks = np.array([[60, 80], [140, 80], [100, 115], [70, 150], [130, 150]], np.float32)
    turned = face_turned(replace(upright, landmarks=landmarks), (300, 200), 1)
    np.testing.assert_allclose(list(vars(mouth_of(turned.mesh)).values()), list(vars(mouth_of(upright.mesh)).values()))


def test_real_faces() -> None:
    if not PHOTOS.is_dir():
        pytest.skip("no photos of faces: name the folder above data/lfw_small in FACEFACT_SHARED")
    from facefact.faces import get_detector

    try:
        detector = get_detector("mediapipe")
    except UserError as error:
        pytest.skip(str(error))
    said = {name: expression(detector.detect(open_picture(PHOTOS / name[:-5] / f"{name}.jpg"))[0]) for name in SEEN}
    assert said == SEEN

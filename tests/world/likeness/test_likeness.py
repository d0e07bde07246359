"""From a sight of a face to a person of the world: what is drawn is found again, and what bends a face is taken out."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facefact.faces import get_detector, mediapipe, open_picture
from facefact.faces.crop import face_from_landmarks
from facefact.world import IDENTITY, Person, look, person, render
from facefact.world.face import skin_colour
from facefact.world.likeness import Sight, likeness, look_at, portrait
from facefact.world.likeness.calibration import agreement, as_json, calibration, fit
from facefact.world.likeness.colours import lab
from facefact.world.likeness.estimate import nearest_skin
from facefact.world.likeness.shape import BENDS, frontal, shape_of
from facefact.world.likeness.sight import MIDDLE, PAIRS, SIDE
from facefact.world.likeness.worn import Worn, colour_of_hair, worn_in_all

SHARED = Path(os.environ.get("FACEFACT_SHARED", Path(__file__).parents[4] / "shared"))
PHOTOS = SHARED / "data" / "lfw_small"


class Five:
    """A detector that knows five points."""

    name, licence = "truth", ""


def rendered(who: Person, seed: int = 3) -> Sight:
    drawn = render(who, look(seed, hair="short", glasses="none", hat="none", pose="front", light="day"), size=256)
    return look_at(drawn.image, face_from_landmarks(drawn.landmarks), Five())


def with_factors(**factors: float) -> Person:
    return Person(0, np.array([factors.get(name, 0.0) for name in IDENTITY]))


@pytest.mark.parametrize("tone", np.linspace(-1, 1, 9))
def test_every_skin_is_found_again_from_five_points(tone: float) -> None:
    found = likeness([rendered(with_factors(skin_tone=tone, freckles=-1))])
    assert found.person["skin_tone"] == pytest.approx(tone, abs=0.2)  # (the cheeks are rosy)
    assert np.linalg.norm(lab(np.array(skin_colour(found.person))) - found.cheeks) < 8  # CIE76


def test_the_nearest_skin_of_a_skin_is_itself() -> None:
    for tone, hue in ((-0.9, 0.5), (0.0, 0.0), (0.4, -1.0), (1.0, 1.0)):
        colour = lab(np.array(skin_colour(with_factors(skin_tone=tone, skin_hue=hue))))
        assert nearest_skin(colour) == pytest.approx((tone, hue), abs=0.011)


def test_five_points_tell_wide_eyes_from_narrow_ones() -> None:
    narrow, wide = (likeness([rendered(with_factors(eye_spacing=s))]).person["eye_spacing"] for s in (-1, 1))
    assert narrow < wide


def test_factors_stay_in_their_range_and_what_is_not_measured_is_the_same_for_all() -> None:
    found = [likeness([rendered(person(seed))]).person for seed in range(3)]
    assert all((np.abs(one.factors) <= 1).all() for one in found)
    assert len({(one["mole"], one["freckles"], one["ear_size"]) for one in found}) == 1


def test_several_photos_are_averaged() -> None:
    light, dark = rendered(with_factors(skin_tone=-0.8)), rendered(with_factors(skin_tone=0.6))
    both = likeness([light, dark]).person["skin_tone"]
    assert likeness([light]).person["skin_tone"] < both < likeness([dark]).person["skin_tone"]


def face_of_points() -> np.ndarray:
    """(478, 3) points: those that are measured lie on a symmetric head."""
    rng = np.random.default_rng(0)
    points = np.zeros((478, 3))
    right = np.stack(
        [rng.uniform(20, 70, len(PAIRS)), rng.uniform(-60, 80, len(PAIRS)), rng.uniform(0, 40, len(PAIRS))], 1
    )
    points[PAIRS[:, 1]], points[PAIRS[:, 0]] = right, right * [-1, 1, 1]
    points[[263, 362, 33, 133], 1] = 0.0
    points[MIDDLE] = np.stack([0 * MIDDLE, np.linspace(-70, 90, len(MIDDLE)), 0 * MIDDLE - 20], 1)
    points[[152, 10, 17, 2, 168]] = [[0, 100, 0], [0, -70, 0], [0, 70, -10], [0, 40, -20], [0, 0, -20]]
    return points


def turned(points: np.ndarray, yaw: float, roll: float) -> np.ndarray:
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    points = points @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    c, s = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    return points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) * 1.7 + [150, 160, 5]


def test_a_turned_and_enlarged_head_has_the_same_shape() -> None:
    """With exact depth, that is; what MediaPipe's depth lacks the calibration's bends make up for."""
    points = face_of_points()
    assert frontal(points)[1] == pytest.approx(0, abs=1e-9)
    sight = rendered(person(0))
    straight = shape_of(replace(sight, mesh=points)).measures
    for yaw, roll in ((25, 0), (-30, 8)):
        seen = shape_of(replace(sight, mesh=turned(points, yaw, roll)))
        assert seen.bends[0] == pytest.approx(abs(yaw), abs=0.5)
        assert seen.measures == pytest.approx(straight)


def test_a_fit_takes_out_what_bends_and_keeps_what_people_are() -> None:
    rng, people = np.random.default_rng(0), np.repeat(np.arange(40), 6)
    bends, own = rng.normal(size=(240, len(BENDS))), rng.normal(size=40)[people]
    slopes = np.array([0.5, -0.2, 0.0, 1.0, 0.3])
    scale = fit({"jaw": own + bends @ slopes + 0.1 * rng.normal(size=240)}, bends, people)["jaw"]
    np.testing.assert_allclose(scale.bends, slopes, atol=0.08)
    assert scale.agreement > 0.95
    assert scale.factor(scale.mean) == 0
    assert -1 < scale.factor(scale.mean - 9 * scale.spread) < -0.95


def test_agreement_is_the_share_of_the_variance_between_people() -> None:
    rng, people = np.random.default_rng(1), np.repeat(np.arange(2000), 4)
    values = rng.normal(size=2000)[people] + rng.normal(size=8000) * np.sqrt(3)
    assert agreement(values, people) == pytest.approx(0.25, abs=0.03)
    assert agreement(people.astype(float), people) == pytest.approx(1)


def test_the_committed_calibration_is_of_known_factors() -> None:
    for kind in ("mesh", "points"):
        scales = calibration(kind)
        assert set(scales) <= set(IDENTITY)
        assert all(one.spread > 0 and 0 < one.agreement < 1 and len(one.bends) == len(BENDS) for one in scales.values())
        assert as_json(scales)["face_width"]["spread"] == scales["face_width"].spread


def test_hair_colours() -> None:
    skin = np.array([70.0, 14.0, 22.0])
    named = {(8, 1, 2): "black", (28, 8, 18): "brown", (60, 2, 32): "blond", (45, 1, 5): "grey", (85, 1, 8): "grey"}
    assert {colour: colour_of_hair(np.array(colour, float), skin) for colour in named} == named
    assert colour_of_hair(np.array([38.0, 47.0, 45.0]), skin) is None  # a red cap
    assert colour_of_hair(np.array([60.0, 5.0, 18.0]), skin) is None  # between blond and grey


def test_of_several_photos_most_decide() -> None:
    told = [{"hair": "long", "hair_colour": "black"}, {"hair": "short", "hair_colour": "black"}, {"hair": "long"}, {}]
    assert worn_in_all([Worn(one) for one in told]).choices == {"hair": "long", "hair_colour": "black"}
    assert worn_in_all([Worn({"hair": "bald"}), Worn({"glasses": "round"}), Worn({})]).choices == {"hair": "bald"}
    assert worn_in_all([Worn({"glasses": "round"}), Worn({})]).choices == {"glasses": "round"}


def test_without_a_mesh_nothing_is_said_of_hair() -> None:
    assert likeness([rendered(person(1))]).worn.choices == {}


def photos(name: str) -> list[Sight]:
    if not PHOTOS.is_dir():
        pytest.skip("no photos of faces: name the folder above data/lfw_small in FACEFACT_SHARED")
    if not mediapipe.available():
        pytest.skip("MediaPipe is not installed")
    detector = get_detector("mediapipe")
    pictures = [open_picture(path) for path in sorted((PHOTOS / name).glob("*.jpg"))[:3]]
    return [look_at(picture, detector.detect(picture)[0], detector) for picture in pictures]


def test_photos_of_people() -> None:
    """Dark and light skin, black and no hair, glasses and none, as anybody sees them."""
    hu, snow, sharpton = (likeness(photos(name)) for name in ("Hu_Jintao", "John_Snow", "Al_Sharpton"))
    assert hu.worn.choices == {"hair": "short", "hair_colour": "black", "glasses": "round"}
    assert snow.worn.choices == {"hair": "bald"}
    assert sharpton.person["skin_tone"] > snow.person["skin_tone"] + 0.15
    assert portrait(hu).image.shape == (128, 128, 3)


def test_a_view_is_upright_and_of_one_size() -> None:
    if not PHOTOS.is_dir() or not mediapipe.available():
        pytest.skip("no photos of faces, or no MediaPipe")
    (one, *_) = photos("Jiang_Zemin")
    assert one.view.shape == (SIDE, SIDE, 3)
    assert one.mesh is not None
    left, right = one.five[:2]
    assert abs(right[1] - left[1]) < 4
    assert one.face[one.five.mean(0).astype(int)[1], one.five.mean(0).astype(int)[0]]
    assert (one.person & one.face).sum() > 0.9 * one.face.sum()

"""Whose face is taken, and which faces are too small, turned, blurred, dark or bright to learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

from candidates import avatars, candidate, decoded, portrait
from facefact.data.cover import masks
from facefact.data.find import check_pose, check_size, find, measure
from facefact.data.prepare_config import FaceSettings, QualitySettings
from facefact.data.records import Candidate, Unfit
from facefact.faces import face_from_landmarks, face_quality
from facefact.faces.align import TEMPLATE
from facefact.faces.turned import face_turned, turned
from facefact.types import Face, Pose
from facefact.world import IDENTITY, Person, look, render

PICTURE = decoded(np.full((400, 600, 3), 128, np.uint8))


@dataclass
class Seen:
    """A detector that has looked already."""

    faces: list[Face]
    name: str = "seen"
    licence: str = ""

    def detect(self, picture: np.ndarray) -> list[Face]:
        return sorted(self.faces, key=lambda face: face.area, reverse=True)

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        raise NotImplementedError


def face(x: float, size: float, *, score: float = 0.9) -> Face:
    """A square face of a given side, its corner at x, 10."""
    landmarks = (TEMPLATE / 112 * size + (x, 10)).astype(np.float32)
    return Face((x, 10, x + size, 10 + size), landmarks, score, Pose(0, 0, 0))


def refused(call: Callable[[], object]) -> tuple[str, str]:
    """Stage and reason; there must be a line for people too."""
    with pytest.raises(Unfit) as caught:
        call()
    assert caught.value.detail
    return caught.value.stage, caught.value.reason


def test_one_avatar_is_found_where_it_is() -> None:
    (one,) = find(decoded(portrait()), avatars(), FaceSettings())
    assert (one.number, one.found) == (0, 1)
    x0, y0, x1, y1 = one.face.box
    assert x0 < 128 < x1
    assert y0 < 128 < y1


def test_no_face() -> None:
    assert refused(lambda: find(PICTURE, avatars(), FaceSettings())) == ("detect", "no face")


def test_landmarks_in_one_place_are_no_face() -> None:
    point = replace(face(10, 100), landmarks=np.full((5, 2), 7, np.float32))
    lost = replace(face(10, 100), landmarks=np.full((5, 2), np.nan, np.float32))
    assert refused(lambda: find(PICTURE, Seen([point, lost]), FaceSettings())) == ("detect", "no face")


def test_an_unsure_face_is_no_face_and_is_shown() -> None:
    with pytest.raises(Unfit, match="unsure") as caught:
        find(PICTURE, Seen([face(10, 100, score=0.55)]), FaceSettings(min_score=0.6))
    assert caught.value.face is not None
    assert caught.value.face.score == 0.55


def test_unsure_faces_do_not_count() -> None:
    (one,) = find(PICTURE, Seen([face(10, 100), face(300, 150, score=0.3)]), FaceSettings())
    assert one.face.box[0] == 10
    assert one.found == 1


@pytest.mark.parametrize(("side", "fits"), [(69, True), (72, False), (100, False)])
def test_the_largest_dominates_when_the_next_has_less_than_half_its_area(side: float, fits: bool) -> None:
    detector = Seen([face(10, 100), face(300, side)])
    if fits:
        (one,) = find(PICTURE, detector, FaceSettings(second=0.5))
        assert (one.face.box[0], one.number, one.found) == (10, 0, 2)
    else:
        assert refused(lambda: find(PICTURE, detector, FaceSettings(second=0.5))) == ("detect", "several faces")


def test_of_a_face_that_the_edge_cuts_only_what_is_seen_counts() -> None:
    cut = face(560, 100)  # 40 of its 100 pixels are in the picture
    (one,) = find(PICTURE, Seen([cut, face(10, 90)]), FaceSettings())
    assert one.face.box[0] == 10


def test_each_and_largest() -> None:
    detector = Seen([face(10, 80), face(150, 100), face(300, 60)])
    each = find(PICTURE, detector, FaceSettings(several="each"))
    assert [(one.number, one.found, one.face.box[0]) for one in each] == [(0, 3, 150), (1, 3, 10), (2, 3, 300)]
    (largest,) = find(PICTURE, detector, FaceSettings(several="largest"))
    assert largest.face.box[0] == 150


def test_a_picture_on_its_side_is_turned_upright() -> None:
    picture = replace(PICTURE, pixels=PICTURE.pixels[:, :300])
    lying = face_turned(face(10, 100), (300, picture.pixels.shape[0]), -1)
    (one,) = find(picture, Seen([lying]), FaceSettings())
    assert abs(one.face.pose.roll) < 5
    assert one.face.box == pytest.approx(face(10, 100).box, abs=1e-3)
    np.testing.assert_array_equal(one.picture.pixels, np.rot90(picture.pixels, 1))
    assert one.picture.original == picture.original[::-1]


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_an_avatar_on_its_side_is_turned_upright_and_masked(turn: int) -> None:
    upright = decoded(portrait(3))
    right, lying = (
        find(picture, avatars(), FaceSettings())[0]
        for picture in (upright, replace(upright, pixels=turned(upright.pixels, turn)))
    )
    np.testing.assert_array_equal(lying.picture.pixels, upright.pixels)
    np.testing.assert_allclose(lying.face.landmarks, right.face.landmarks, atol=0.1)
    np.testing.assert_array_equal(masks(lying, avatars()).head, masks(right, avatars()).head)


def test_two_avatars_side_by_side() -> None:
    pair = np.hstack([portrait(1), portrait(2, 8)])
    assert refused(lambda: find(decoded(pair), avatars(), FaceSettings())) == ("detect", "several faces")
    assert len(find(decoded(pair), avatars(), FaceSettings(several="each"))) == 2


def test_size_is_the_root_of_the_boxs_area() -> None:
    check_size(Candidate(PICTURE, face(10, 48)), FaceSettings(min_size=48))
    small = Candidate(PICTURE, face(10, 47))
    assert refused(lambda: check_size(small, FaceSettings(min_size=48))) == ("size", "too small")


@pytest.mark.parametrize(
    ("pose", "reason"),
    [
        (Pose(59, -44, 59), None),
        (Pose(-61, 0, 0), "turned away"),
        (Pose(0, 46, 0), "turned away"),
        (Pose(0, 0, -61), "tilted"),
    ],
)
def test_pose_has_limits_on_both_sides(pose: Pose, reason: str | None) -> None:
    turned = Candidate(PICTURE, replace(face(10, 100), pose=pose))
    if reason is None:
        check_pose(turned, FaceSettings())
    else:
        assert refused(lambda: check_pose(turned, FaceSettings())) == ("pose", reason)


def test_a_turned_head_is_refused_by_its_landmarks() -> None:
    """The template's points, seen from so far aside that the eyes are a few pixels apart."""
    aside = TEMPLATE * (0.25, 1) + (100, 100) + np.array([[0, 0], [0, 0], [25, 0], [3, 0], [3, 0]])
    turned = Candidate(PICTURE, face_from_landmarks(aside))
    assert refused(lambda: check_pose(turned, FaceSettings())) == ("pose", "turned away")


def test_a_good_picture_is_measured_and_kept() -> None:
    one = candidate(portrait())
    assert measure(one, QualitySettings()) == face_quality(one.picture.pixels, one.face)


def darker(pixels: np.ndarray) -> np.ndarray:
    return (pixels * 0.15).astype(np.uint8)


def burnt(pixels: np.ndarray) -> np.ndarray:
    return np.maximum(pixels, 235)


def half_black(pixels: np.ndarray) -> np.ndarray:
    return pixels * (np.arange(pixels.shape[1]) < pixels.shape[1] // 2)[:, None].astype(np.uint8)


def blurred(pixels: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(pixels, (0, 0), 9)


@pytest.mark.parametrize(
    ("change", "reason"), [(darker, "dark"), (burnt, "bright"), (half_black, "clipped"), (blurred, "blurred")]
)
def test_each_flaw_has_its_reason(change: Callable[[np.ndarray], np.ndarray], reason: str) -> None:
    good = candidate(portrait())
    bad = Candidate(decoded(change(good.picture.pixels)), good.face)
    assert refused(lambda: measure(bad, QualitySettings())) == ("quality", reason)


def drawn(seed: int, tone: float) -> Candidate:
    """An avatar in its own light. tone: of the skin, 1 the darkest."""
    factors = np.zeros(len(IDENTITY))
    factors[IDENTITY.index("skin_tone")] = tone
    shown = render(Person(seed, factors), look(seed, glasses="none"), size=256)
    return Candidate(decoded(shown.image), face_from_landmarks(shown.landmarks))


def with_pixels(one: Candidate, pixels: np.ndarray) -> Candidate:
    return replace(one, picture=decoded(pixels.round().astype(np.uint8)))


@pytest.mark.parametrize("seed", range(8))
def test_dark_skin_is_no_dark_picture(seed: int) -> None:
    """Skin darker than any that is drawn, in daylight: a third of it but for what is white."""
    darkest = drawn(seed, 1.0)
    pixels = darkest.picture.pixels
    daylight = with_pixels(darkest, np.where(pixels.min(2, keepdims=True) < 170, 0.3 * pixels, pixels))
    settings = QualitySettings()
    found = measure(daylight, settings)
    assert found.brightness < settings.dark
    assert found.score > 0.8 * measure(darkest, settings).score, "nor is it worth less"
    underexposed = with_pixels(drawn(seed, 0.0), drawn(seed, 0.0).picture.pixels * 0.25)
    assert face_quality(underexposed.picture.pixels, underexposed.face).brightness > 0.8 * found.brightness
    for dark in (underexposed, with_pixels(darkest, pixels * 0.25)):
        assert refused(lambda dark=dark: measure(dark, settings)) == ("quality", "dark")


def test_what_is_mediocre_in_everything_is_poor() -> None:
    good = candidate(portrait())
    dim = cv2.GaussianBlur((good.picture.pixels * 0.4).astype(np.uint8), (0, 0), 1.7)
    weak = Candidate(decoded(dim), good.face)
    quality = face_quality(dim, weak.face)
    assert quality.sharpness > 4
    assert quality.brightness > 40
    assert 0.2 < quality.score < 0.6
    measure(weak, QualitySettings(min_quality=0.2))
    assert refused(lambda: measure(weak, QualitySettings(min_quality=0.6))) == ("quality", "poor")


def test_the_default_limits_are_settings() -> None:
    bad = Candidate(decoded(blurred(portrait())), candidate(portrait()).face)
    measure(bad, QualitySettings(min_sharpness=0, min_quality=0))

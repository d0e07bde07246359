"""A photo that can be used, and will cost something, says what: once for each thing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from facefact.faces import face_from_landmarks, get_detector, open_picture
from facefact.faces.align import TEMPLATE, alignment, inverse, transform
from facefact.faces.reference import LOW_LIGHT, brightest, costs
from facefact.types import Pose
from facefact.world import IDENTITY, Person, look, person, render

SHARED = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[3] / "shared")
PHOTOS, YUNET = SHARED / "data" / "lfw_small", SHARED / "models" / "yunet_n_640_640.onnx"
MASK = np.array([[18, 70], [40, 68], [56, 60], [72, 68], [94, 70], [92, 98], [72, 112], [40, 112], [20, 98]])
MASKS = ((120, 170, 200), (235, 238, 240), (30, 30, 32), (150, 200, 190))  # blue, white, black, green

FACE = replace(face_from_landmarks(TEMPLATE + 20), pose=Pose(0, 0, 0))


@pytest.mark.parametrize(
    ("light", "yaw", "words"),
    [
        (120, 20, []),
        (30, 0, ["dark (nothing about the face is brighter than 30"]),
        (120, -50, ["from the side (yaw -50"]),
        (30, 50, ["from the side", "dark"]),
    ],
)
def test_what_is_said_of_light_and_pose(light: int, yaw: float, words: list[str]) -> None:
    said = costs(np.full((160, 160, 3), light, np.uint8), replace(FACE, pose=Pose(yaw, 0, 0)))
    assert len(said) == len(words)
    assert all(word in line for word, line in zip(words, said, strict=True))


def test_dark_skin_is_no_dark_photo() -> None:
    factors = np.zeros(len(IDENTITY))
    factors[IDENTITY.index("skin_tone")] = 1.0  # the darkest
    for seed in range(12):
        shown = render(Person(seed, factors), look(seed, glasses="none"))
        face = replace(face_from_landmarks(shown.landmarks), pose=Pose(0, 0, 0))
        assert brightest(shown.image, face) > LOW_LIGHT, seed
        assert not costs(shown.image, face)
        assert costs((shown.image * 0.25).astype(np.uint8), face), "the same in the dark"


def test_sunglasses_of_avatars_are_named_and_other_glasses_are_not() -> None:
    named = dict.fromkeys(("none", "round", "square", "sun"), 0)
    for glasses in named:
        for seed in range(20):
            shown = render(person(7100 + seed), look(7100 + seed, glasses=glasses), size=160)
            face = replace(face_from_landmarks(shown.landmarks, backend="avatar"), pose=Pose(0, 0, 0))
            said = " ".join(costs(shown.image, face))
            named[glasses] += "dark glasses" in said
            assert "mask" not in said
    assert named["sun"] >= 18
    assert named["none"] + named["round"] + named["square"] == 0


def with_glasses(picture: np.ndarray, landmarks: np.ndarray, shade: int) -> np.ndarray:
    """Dark lenses, with a light reflected in them, over the eyes."""
    painted, back = picture.copy(), inverse(alignment(landmarks))
    turn = np.linspace(0, 2 * np.pi, 40)
    for middle in ((38, 53), (74, 53)):
        lens = np.column_stack([np.cos(turn), np.sin(turn)]) * (16, 11) + middle
        cv2.fillPoly(painted, [np.round(transform(lens, back)).astype(np.int32)], (shade, shade, shade + 8))
        ends = transform(np.array([[-6, 4], [4, -7]]) + middle, back)
        cv2.line(painted, *(tuple(int(v) for v in end) for end in ends), (120, 130, 140), 1)
    return painted


def with_mask(picture: np.ndarray, landmarks: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A piece of cloth from the nose to below the chin, lit as the face is."""
    back, painted = inverse(alignment(landmarks)), np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(painted, [np.round(transform(MASK, back)).astype(np.int32)], 1)
    light = cv2.GaussianBlur(picture.mean(-1), (0, 0), 8)[..., None]
    cloth = np.clip(np.array(colour) * (0.5 + 0.5 * light / light[painted > 0].max()), 0, 255)
    return np.where(painted[..., None] > 0, cloth, picture).astype(np.uint8)


def test_dark_glasses_and_masks_on_photos() -> None:
    """Painted on; the detector looks again, and the warnings are on what it finds then."""
    if not (PHOTOS.is_dir() and YUNET.is_file()):
        pytest.skip("no photos of faces, or no YuNet (their folder's parent in FACEFACT_SHARED)")
    detector = get_detector("yunet", model=YUNET)
    named = {"plain": 0, "glasses": 0, "mask": 0}
    photos = [open_picture(min(folder.iterdir())) for folder in sorted(PHOTOS.iterdir())[:20]]
    for number, photo in enumerate(photos):
        points = detector.detect(photo)[0].landmarks
        glasses = with_glasses(photo, points, 10 + 8 * (number % 4))
        mask = with_mask(photo, points, MASKS[number % len(MASKS)])
        for name, picture, word in (("glasses", glasses, "dark glasses"), ("mask", mask, "mask")):
            faces = detector.detect(picture)
            named[name] += bool(faces) and word in " ".join(costs(picture, faces[0]))
        said = " ".join(costs(photo, detector.detect(photo)[0]))
        named["plain"] += "dark glasses" in said or "mask" in said
    assert named["plain"] <= 1
    assert named["glasses"] >= 17
    assert named["mask"] >= 15

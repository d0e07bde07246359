from __future__ import annotations

import cv2
import numpy as np
import pytest

from facefact.faces import face_from_landmarks
from facefact.faces.mask import head_ellipse
from facefact.generate.regions import region_mask, softened
from facefact.types import Face
from facefact.world import look, person, render
from inpainting import POINTS, FixedDetector, face_at

GREY = np.full((300, 300, 3), 128, np.uint8)


def test_the_region_is_the_face_and_fades_to_exactly_0() -> None:
    face = face_at(100, 100)
    weight = softened(region_mask(face, GREY), 112)
    for px, py in POINTS + 100:
        assert weight[round(py), round(px)] > 0.95
    border = np.concatenate([weight[0], weight[-1], weight[:, 0], weight[:, -1]])
    assert (border == 0).all()


def test_an_oval_is_used_where_it_is_known() -> None:
    square = np.array([[120, 120], [180, 120], [180, 180], [120, 180]], np.float32)
    face = face_at(100, 100)
    mask = region_mask(Face(face.box, face.landmarks, 1.0, face.pose, oval=square), GREY)
    assert mask[150, 150]
    assert not mask[190, 150]


@pytest.mark.parametrize("hat", ["cap", "beanie", "straw"])
def test_a_hat_over_the_forehead_is_no_face_and_brows_are(hat: str) -> None:
    fixed = {"glasses": "none", "pose": "front", "expression": "neutral"}
    made = render(person(11), look(5, hat=hat, hair="bald", **fixed), size=256)
    bare = render(person(11), look(5, hat="none", hair="bald", **fixed), size=256)
    outline = cv2.convexHull(np.argwhere(made.face)[:, ::-1].astype(np.float32))[:, 0]
    face = face_from_landmarks(made.landmarks)
    face = Face(face.box, face.landmarks, 1.0, face.pose, oval=outline)
    under = (np.abs(made.image.astype(int) - bare.image).max(2) > 40) & made.face
    assert under.sum() > 200
    assert region_mask(face, made.image)[under].mean() < 0.15
    assert region_mask(face, bare.image)[under].mean() > 0.85, "a bare forehead is, with its brows"


def test_hair_and_head_are_larger_each_than_the_one_before() -> None:
    face = face_at(100, 100)
    head = FixedDetector().head_mask(GREY, face)
    sizes = [region_mask(face, GREY, region=one, head=head).sum() for one in ("face", "hair", "head")]
    assert sizes[0] < sizes[1] <= sizes[2]
    assert (region_mask(face, GREY, region="head", head=head) >= head_ellipse(GREY.shape, face.landmarks)).all()
    with pytest.raises(ValueError, match="needs the detector's mask"):
        region_mask(face, GREY, region="hair")

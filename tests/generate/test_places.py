"""Where people are: boxes, layouts and faces become masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facefact.faces import face_from_landmarks
from facefact.generate.places import (
    box_mask,
    face_masks,
    is_spoken,
    layout_masks,
    nearest_masks,
    parse_box,
    soft_edge,
    spoken_place,
)
from facefact.types import Face, UserError

POINTS = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)


def test_boxes() -> None:
    mask = box_mask(parse_box("0.1, 0.2, 0.4, 0.6"))
    assert float(mask.mean()) == pytest.approx(0.3 * 0.4, abs=1e-6), "to a part of a cell"
    rows, columns = mask.nonzero().float().add(0.5).div(len(mask)).unbind(1)
    assert (float(columns.min()), float(columns.max())) == pytest.approx((0.1, 0.4), abs=0.003)
    assert (float(rows.min()), float(rows.max())) == pytest.approx((0.2, 0.6), abs=0.003)
    assert torch.equal(box_mask((0, 0, 1, 1)), torch.ones_like(mask))


@pytest.mark.parametrize("text", ["", "0.1,0.2,0.4", "0.4,0.2,0.1,0.6", "0,0,1,1.5", "a,b,c,d"])
def test_what_is_no_box(text: str) -> None:
    with pytest.raises(UserError, match="is no box"):
        parse_box(text)


def test_a_layout_from_left_to_right() -> None:
    picture = np.zeros((160, 400, 3), np.uint8)
    picture[:, 240:360], picture[40:, 20:160] = (255, 0, 0), (0, 0, 255)
    picture[:, 359] = (128, 0, 0)  # a smoothed edge
    blue, red = layout_masks(picture)
    assert torch.equal(blue.bool(), torch.from_numpy(picture[..., 2] > 0))
    assert red.shape == (160, 400)
    assert red[:, 240:359].all()
    assert float(red.mean()) == pytest.approx(0.3, abs=0.003)
    assert not (blue * red).any()
    large = layout_masks(picture.repeat(4, 0).repeat(4, 1))
    assert [float(one.mean()) for one in large] == pytest.approx([float(blue.mean()), float(red.mean())], abs=0.01)
    with pytest.raises(UserError, match="no regions"):
        layout_masks(np.zeros((8, 8, 3), np.uint8))


def test_faces() -> None:
    left, right = (face_from_landmarks(POINTS + where) for where in (0, (150, 20)))
    masks = face_masks([left, right], (160, 300, 3))
    for mask, face in zip(masks, (left, right), strict=True):
        for x, y in face.landmarks:
            assert mask[round(float(y)), round(float(x))] == 1
        weight = soft_edge(mask, face)
        assert weight.max() == pytest.approx(1)
        assert (weight[mask.numpy() == 0] < 0.51).all()
        assert (weight[:, 140:150] == 0).all()
    assert not (masks[0] * masks[1]).any()
    near = nearest_masks([left, right], (160, 300, 3))
    assert torch.equal(near[0] + near[1], torch.ones(160, 300))
    assert all(bool((mask <= whole).all()) for mask, whole in zip(masks, near, strict=True))
    square = np.array([[120, 120], [180, 120], [180, 158], [120, 158]], np.float32)
    known = Face(left.box, left.landmarks, 1.0, left.pose, oval=square)
    (oval,) = face_masks([known], (160, 300, 3))
    assert oval[140, 150] == 1 > oval[60, 150]
    head = np.zeros((160, 300), bool)
    head[:20] = True
    (with_hair,) = face_masks([left], (160, 300, 3), heads=[head])
    assert with_hair[5, 280] == 1


@pytest.mark.parametrize(
    ("words", "count", "number"),
    [
        ("left", 3, 0),
        ("The woman on the left", 3, 0),
        ("person in the  middle", 3, 1),
        ("right", 3, 2),
        ("the last one", 4, 3),
        ("first", 20, 0),
        ("the second", 4, 1),
        ("second from the right", 4, 2),
        ("17th person from the left", 20, 16),
        ("the man on the right", 2, 1),
        ("left", 1, 0),
    ],
)
def test_words_that_name_people(words: str, count: int, number: int) -> None:
    assert is_spoken(words)
    assert spoken_place(words, count) == number


@pytest.mark.parametrize(
    ("words", "count", "line"),
    [
        ("above", 3, "names no place"),
        ("left from the right", 3, "names no place"),
        ("the tall one", 3, "names no place"),
        ("middle", 4, "nobody in the middle"),
        ("third", 2, "only 2 people"),
        ("third from the right", 2, "only 2 people"),
    ],
)
def test_words_that_name_nobody(words: str, count: int, line: str) -> None:
    with pytest.raises(UserError, match=line):
        spoken_place(words, count)

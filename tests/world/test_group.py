"""Groups have ground truth: each one's masks and landmarks lie where that person is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.world import look, person, render
from facefact.world.group import render_group, together

PEOPLE = [person(i) for i in range(4)]
LOOKS = [look(50 + i) for i in range(4)]


def test_one_person_is_their_portrait() -> None:
    group, alone = render_group(PEOPLE[:1], LOOKS[:1]), render(PEOPLE[0], LOOKS[0])
    np.testing.assert_array_equal(group.image, alone.image)
    np.testing.assert_array_equal(group.faces[0], alone.face)
    np.testing.assert_array_equal(group.landmarks[0], alone.landmarks)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_each_one_stands_in_a_square_of_their_own(count: int) -> None:
    group, shown = render_group(PEOPLE[:count], LOOKS[:count], size=64), together(LOOKS[:count])
    assert group.image.shape == (64, 64 * count, 3)
    for i, (square, who, one) in enumerate(zip(group.squares, PEOPLE, shown, strict=False)):
        alone = render(who, one, size=64)
        np.testing.assert_array_equal(group.faces[i][:, 64 * i : 64 * i + 64], alone.face)
        np.testing.assert_allclose(group.landmarks[i] - [64 * i, 0], alone.landmarks, atol=1e-4)
        np.testing.assert_array_equal(square[alone.head], alone.image[alone.head])
    assert not group.faces[:, None][0][0][:, 64:].any()
    assert (group.faces.sum(0) <= 1).all()


def test_who_stands_further_right_stands_in_front() -> None:
    group = render_group(PEOPLE[:3], LOOKS[:3], spacing=0.6)
    assert group.image.shape == (128, 154 + 128, 3)
    assert (group.heads.sum(0) <= 1).all(), "no pixel is two people's"
    alone = render(PEOPLE[2], together(LOOKS[:3])[2])
    np.testing.assert_array_equal(group.heads[2][:, 154:], alone.head)


def test_one_scene_and_one_light() -> None:
    for one in together(LOOKS):
        assert (one["scene"], one["light"], one.variation) == (LOOKS[0]["scene"], LOOKS[0]["light"], LOOKS[0].variation)
    assert together(LOOKS)[1]["hair"] == LOOKS[1]["hair"]


def test_what_is_no_group() -> None:
    with pytest.raises(ValueError, match="1 to 4 people"):
        render_group([*PEOPLE, person(9)], [*LOOKS, look(9)])
    with pytest.raises(ValueError, match="a look for each"):
        render_group(PEOPLE, LOOKS[:2])

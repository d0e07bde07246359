"""The contact sheet: whom it shows, and how large."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.evaluate.sheet import COLUMNS, contact_sheet, named_rows, sheet_protocol
from facefact.world import HELD_OUT


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_all_skins_are_shown_from_light_to_dark(seed: int) -> None:
    plan = sheet_protocol(seed)
    tones = np.array([who["skin_tone"] for who in plan.people])
    assert (np.floor((tones + 1) / 2 * 6) == np.arange(6)).all()  # one in each sixth of the range
    assert min(who.seed for who in plan.people) >= HELD_OUT
    assert len({who.seed for who in plan.people}) == 6
    assert len(plan.cases) == 6 * len(COLUMNS)


def test_the_pictures_are_drawn_at_twice_their_size() -> None:
    references = [np.full((16, 16, 3), value, np.uint8) for value in (40, 90)]
    pictures = np.stack([np.full((16, 16, 3), 100 + value, np.uint8) for value in range(4)])
    small, large = (np.asarray(contact_sheet("a", references, pictures, magnified=n)) for n in (1, 2))
    assert large.shape == (2 * small.shape[0], 2 * small.shape[1], 3)
    for sheet, factor in ((small, 1), (large, 2)):
        for value in (40, 90, 100, 101, 102, 103):
            at = np.argwhere((sheet == value).all(-1) & (np.arange(len(sheet)) >= 48 * factor)[:, None])
            assert (at.max(0) - at.min(0) + 1 == 16 * factor).all(), value
    assert np.asarray(contact_sheet("a", references, pictures)).shape == large.shape


def test_rows_have_names_and_columns_heads() -> None:
    pictures = [[np.full((4, 4, 3), 10 * row + column, np.uint8) for column in range(3)] for row in range(2)]
    made = np.asarray(named_rows(["one", "two", "three"], [("a", pictures[0]), ("a longer one", pictures[1])], cell=16))
    left, top = made.shape[1] - 3 * 16, made.shape[0] - 2 * 16
    for row in range(2):
        for column in range(3):
            at = made[top + 16 * row : top + 16 * (row + 1), left + 16 * column : left + 16 * (column + 1)]
            assert (at == 10 * row + column).all()
    assert (made[top:, :left] < 255).any()
    assert (made[:top] < 255).any()
    bare = np.asarray(named_rows(["one"], [("", pictures[0][:1])], cell=16))
    assert bare.shape[1] == 16  # no room is left for names that there are not

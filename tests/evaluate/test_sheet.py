"""The contact sheet: whom it shows, and how large."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.evaluate.sheet import COLUMNS, contact_sheet, sheet_protocol
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

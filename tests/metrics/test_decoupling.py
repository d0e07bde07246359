"""Leakage, copy-paste and locality on known answers."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.metrics.decoupling import above, angle, copy_paste, leaked, locality


def unit(*degrees: float) -> np.ndarray:
    turned = np.radians(degrees)
    return np.stack([np.cos(turned), np.sin(turned)], 1)


def test_leaked_is_what_the_reference_has_and_the_prompt_does_not_ask_for() -> None:
    worn, wanted = np.array([1, 1, 1, -1, 1]), np.array([2, 2, 1, 2, -1])
    np.testing.assert_array_equal(leaked(np.array([1, 2, 1, 1, 1]), worn, wanted), [1, 0, np.nan, np.nan, np.nan])


def test_copy_paste_is_one_for_the_reference_and_minus_one_for_the_true_picture() -> None:
    reference, true = unit(0, 0, 0, 0), unit(40, 40, 40, 40)
    np.testing.assert_allclose(copy_paste(unit(0, 40, 20, 10), reference, true), [1, -1, 0, 0.5], atol=1e-6)


def test_copy_paste_stays_within_one_and_does_not_divide_by_nothing() -> None:
    rng = np.random.default_rng(0)
    made, reference, true = (x / np.linalg.norm(x, axis=1)[:, None] for x in rng.normal(size=(3, 500, 8)))
    found = copy_paste(made, reference, true)
    assert np.abs(found).max() <= 1 + 1e-9
    assert copy_paste(unit(30), unit(10), unit(10))[0] == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(above(np.ones(2), np.array([0.3, 0.5]), 0.4), [np.nan, 1])


def test_angles() -> None:
    np.testing.assert_allclose(np.degrees(angle(unit(0, 10), unit(90, 40))), [90, 30], atol=1e-6)


def test_locality_is_the_share_of_change_inside() -> None:
    black = np.zeros((3, 4, 4, 3), np.uint8)
    made, inside = black.copy(), np.zeros((3, 4, 4), bool)
    inside[:, :2] = True
    made[0, 0], made[1, 0], made[1, 3] = 50, 30, 10
    np.testing.assert_allclose(locality(made, black, inside), [1, 0.75, np.nan])

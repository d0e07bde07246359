"""Curves over the steps."""

from __future__ import annotations

import pytest

from facefact.train.engine.curriculum import check_curve, curves, value_at
from facefact.train.engine.schedule import Schedule
from facefact.train.settings import AdapterTraining, Condition, Loss
from facefact.types import UserError


def test_a_number_is_always_itself() -> None:
    assert value_at(0.3, 0) == value_at(0.3, 10**6) == 0.3


def test_corners_are_joined_by_straight_lines() -> None:
    curve = ((10, 0.0), (20, 1.0), (40, 0.5))
    assert [value_at(curve, step) for step in (0, 10, 15, 20, 30, 40, 99)] == [0.0, 0.0, 0.5, 1.0, 0.75, 0.5, 0.5]


@pytest.mark.parametrize(
    ("curve", "message"),
    [((), "no corners"), (((5, 0.1), (5, 0.2)), "must rise"), (((0, -0.1),), "lies outside"), (2.0, "lies outside")],
)
def test_what_is_no_curve_is_said(curve, message) -> None:
    with pytest.raises(UserError, match=message):
        check_curve("x", curve, high=1.0)


def test_the_curves_of_the_settings_are_found_by_name() -> None:
    condition, loss = Condition(shuffle=((0, 0.0), (5, 1.0))), Loss(fair=((0, 0.0), (3, 1.0)))
    settings = AdapterTraining(Schedule(steps=9, batch=1), condition=condition, loss=loss)
    assert curves(settings) == {"condition.shuffle": ((0, 0.0), (5, 1.0)), "loss.fair": ((0, 0.0), (3, 1.0))}

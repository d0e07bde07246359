"""Curves over the steps."""

from __future__ import annotations

import pytest

from facefact.config import from_tree
from facefact.train.engine.curriculum import check_curve, curves, in_steps, value_at
from facefact.train.engine.schedule import Schedule
from facefact.train.settings import AdapterTraining, Condition, Loss, tree_of
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


SHARES = {
    "condition": {"shuffle": [["5%", 0.0], ["20%", 1.0]]},
    "loss": {"fair": [[0, 0.0], ["62.5%", 0.0], [900, 1.0]]},
    "data": {"size": [[0, 64], ["50%", 128]]},
}


def test_shares_of_the_run_double_with_its_length() -> None:
    """Twice the steps: what was reached at a share of the run is reached there again; steps stay steps."""
    short, long = (
        from_tree(AdapterTraining, {"schedule": {"steps": steps, "batch": 1}, **SHARES}) for steps in (1000, 2000)
    )
    for share in (0.0, 0.05, 0.1, 0.2, 0.9):
        assert value_at(short.condition.shuffle, round(share * 1000)) == pytest.approx(
            value_at(long.condition.shuffle, round(share * 2000))
        )
    assert value_at(short.condition.shuffle, 125) == pytest.approx(0.5)
    assert [short.data.size_at(499), short.data.size_at(500), long.data.size_at(999), long.data.size_at(1000)] == [
        *(64, 128),
        *(64, 128),
    ]
    assert value_at(short.loss.fair, 900) == 1.0
    assert short.loss.fair == ((0, 0.0), (625, 0.0), (900, 1.0))
    with pytest.raises(UserError, match=r"loss\.fair: the steps of its corners must rise"):
        long.check()  # 62.5 % of 2000 lies behind step 900


def test_what_is_recorded_are_steps() -> None:
    made = from_tree(AdapterTraining, {"schedule": {"steps": 400, "batch": 1}, **SHARES})
    assert tree_of(made)["condition"]["shuffle"] == [[20, 0.0], [80, 1.0]]
    assert from_tree(AdapterTraining, tree_of(made)) == made


def test_corners_stay_apart_in_the_shortest_run() -> None:
    loss = in_steps(Loss(fair=(("50%", 0.0), ("52%", 1.0))), 3)
    check_curve("loss.fair", loss.fair)


@pytest.mark.parametrize("place", ["120%", "-1%", "half", "50", "%"])
def test_a_place_that_is_none_is_named(place) -> None:
    with pytest.raises(UserError, match=r"loss\.fair: .* is no place in a run"):
        from_tree(AdapterTraining, {"schedule": {"steps": 4, "batch": 1}, "loss": {"fair": [["x" + place, 0.0]]}})
    with pytest.raises(UserError, match=r"loss\.fair: .* is no place in a run"):
        in_steps(Loss(fair=((place, 0.0),)), 4, where="loss.")

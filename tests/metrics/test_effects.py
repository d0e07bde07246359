"""Effects and what is said of them, on matrices whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.metrics.effects import SUMMARIES, differences, matrix, pair_gains, resamples, summary, total_variation

CAUSES, IDENTITY, PEOPLE = 6, 4, 30
ALL = np.ones(CAUSES, bool)


def world(unit: float = 0.5) -> np.ndarray:
    """Every cause moves its own factor by `unit`, a little more or less by person."""
    apart = 1 + 0.1 * np.random.default_rng(0).normal(size=PEOPLE)
    return unit * apart[:, None, None] * np.eye(CAUSES)


def said(effects: np.ndarray, true: np.ndarray | None = None, readable: np.ndarray = ALL) -> dict[str, float]:
    found = summary(effects, world() if true is None else true, identity=IDENTITY, readable=readable)
    return {name: one.value for name, one in found.items()}


def test_the_world_itself_is_perfect_but_for_the_look_which_should_not_pass() -> None:
    found = said(world())
    assert found["fidelity"] == pytest.approx(1)
    assert found["entanglement"] == 0
    assert found["leakage_of_itself"] == pytest.approx(1)
    assert set(found) == set(SUMMARIES)


def test_a_method_that_reads_no_reference_has_no_effect_at_all() -> None:
    assert set(said(np.zeros((PEOPLE, CAUSES, CAUSES))).values()) == {0.0}


def test_units_are_the_worlds_and_signs_count_on_the_diagonal_alone() -> None:
    made = np.zeros((PEOPLE, CAUSES, CAUSES))
    made[:, 0, 0], made[:, 1, 1] = 0.25, -0.25
    made[:, 0, 1] = np.where(np.arange(PEOPLE) % 2, 0.3, -0.3)
    found, true = matrix(made, world(0.5)), world(0.5)[:, 0, 0].mean()
    assert found.value[0, 0] == pytest.approx(0.25 / true)
    assert found.value[1, 1] == pytest.approx(-0.25 / true)
    assert found.value[0, 1] == pytest.approx(0.3 / true), "the size, though it is 0 on average"
    assert said(made)["fidelity"] == pytest.approx(0, abs=1e-12)
    assert said(made)["entanglement"] == pytest.approx(0.3 / true / (IDENTITY * (CAUSES - 1)))


def test_what_cannot_be_read_does_not_count() -> None:
    made = world()
    made[:, :, 2] = 9.0
    readable = np.arange(CAUSES) != 2
    assert said(made, readable=readable)["entanglement"] == 0
    assert said(made, readable=readable)["fidelity"] == pytest.approx(1)
    assert said(made)["entanglement"] > 1


def test_the_looks_effects_are_leakage_and_on_the_person_their_own_figure() -> None:
    made = np.zeros((PEOPLE, CAUSES, CAUSES))
    made[:, 5, 0] = -world()[:, 0, 0]
    found = said(made)
    assert found["leakage_to_identity"] == pytest.approx(1 / (2 * IDENTITY))
    assert found["leakage"] == pytest.approx(1 / (2 * CAUSES))
    assert found["leakage_of_itself"] == found["entanglement"] == found["fidelity"] == 0


def test_pictures_without_a_face_are_left_out() -> None:
    made = world()
    made[3] = np.nan
    assert said(made)["fidelity"] == pytest.approx(1, abs=0.02)


def test_intervals_are_over_people_and_differences_are_paired() -> None:
    rng = np.random.default_rng(1)
    made = world() * rng.uniform(0.2, 1.0, PEOPLE)[:, None, None]
    one = summary(made, world(), identity=IDENTITY, readable=ALL)["fidelity"]
    assert one.low < one.value < one.high
    assert one.high - one.low > 0.1
    apart = differences(made + 0.05 * world(), made, world(), identity=IDENTITY, readable=ALL)["fidelity"]
    assert apart.value == pytest.approx(0.05)
    assert apart.high - apart.low < 1e-9, "the same people are drawn in both"
    times = resamples(PEOPLE)
    assert (times[0] == 1).all()
    assert (times.sum(1) == PEOPLE).all()


def test_a_method_of_several_trainings_is_their_mean_with_an_interval_over_them_too() -> None:
    made, apart = world(), np.array([0.2, 0.6, 1.0])
    trained = apart[:, None, None, None] * made
    one, all_three = (
        summary(each, world(), identity=IDENTITY, readable=ALL)["fidelity"] for each in (0.6 * made, trained)
    )
    assert all_three.value == pytest.approx(one.value)
    assert all_three.low < 0.35 < 0.85 < all_three.high, "the people are as certain as can be, the trainings are not"
    assert one.high - one.low < 0.01
    assert (one.n, all_three.n) == (PEOPLE, 3 * PEOPLE)
    cells = matrix(trained, world())
    assert cells.value[0, 0] == pytest.approx(0.6)
    assert cells.high[0, 0] > 0.85
    paired = differences(trained, 0.9 * trained, world(), identity=IDENTITY, readable=ALL)["fidelity"]
    assert paired.value == pytest.approx(0.06)
    assert 0.02 <= paired.low < paired.high <= 0.1 + 1e-9, "the same trainings are drawn in both"
    same = summary(made[None], world(), identity=IDENTITY, readable=ALL)
    assert same == summary(made, world(), identity=IDENTITY, readable=ALL)


def test_total_variation() -> None:
    assert total_variation(np.array([1.0, 0, 0]), np.array([0.0, 0, 1])) == 1
    assert total_variation(np.array([0.5, 0.5]), np.array([0.75, 0.25])) == pytest.approx(0.25)


def test_gains_of_pairs_are_those_that_made_them_though_causes_come_together() -> None:
    rng = np.random.default_rng(2)
    causes = rng.normal(size=(400, 3)) @ np.array([[1, 0.6, 0], [0, 1, 0.4], [0, 0, 1]])
    true = np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.0], [0.0, -0.3, 0.0]])
    found = pair_gains(causes, causes @ true + 0.1 * rng.normal(size=causes.shape), np.repeat(np.arange(100), 4))
    np.testing.assert_allclose(found.value, true, atol=0.03)
    assert ((found.low <= true) & (true <= found.high)).mean() > 0.7
    np.testing.assert_allclose(pair_gains(causes, causes, np.arange(400)).value, np.eye(3), atol=1e-9)
    with pytest.raises(ValueError, match="cannot tell 3 factors apart"):
        pair_gains(causes[:2], causes[:2], np.arange(2))
    with pytest.raises(ValueError, match="apart"):
        pair_gains(causes[:, [0, 0, 1]], causes, np.arange(400))

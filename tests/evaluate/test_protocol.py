"""The protocol: other people than training sees, independent prompts, the same ones for the same seed."""

from facefact.evaluate.protocol import protocol
from facefact.evaluate.sheet import COLUMNS, sheet_protocol
from facefact.world import CHOICES, HELD_OUT, caption


def test_the_same_seed_asks_for_the_same_pictures() -> None:
    first, again, other = protocol(3, people=8), protocol(3, people=8), protocol(4, people=8)
    assert first.cases == again.cases
    assert [one.seed for one in first.people] == [one.seed for one in again.people]
    assert not {one.seed for one in first.people} & {one.seed for one in other.people}


def test_people_and_looks_lie_outside_what_training_draws() -> None:
    plan = protocol(0, people=20)
    assert min(one.seed for one in plan.people) >= HELD_OUT
    assert min(case.wanted.variation for case in plan.cases) >= HELD_OUT


def test_every_person_gets_the_same_number_of_pictures_and_no_hidden_eyes() -> None:
    plan = protocol(1, people=12, per_person=3)
    assert plan.own.tolist() == [i // 3 for i in range(36)]
    assert all(look["glasses"] != "sun" for look in plan.looks)
    assert all(case.prompt == caption(case.wanted) for case in plan.cases)


def test_the_sheet_changes_what_its_columns_say() -> None:
    plan = sheet_protocol(0, people=3)
    assert len(plan.cases) == 3 * len(COLUMNS)
    for case, (_, change) in zip(plan.cases, COLUMNS, strict=False):
        assert {name: case.wanted[name] for name in change} == change
    varied = {name for name in CHOICES if len({case.wanted[name] for case in plan.cases}) > 1}
    assert varied >= {"expression", "hair", "glasses", "hat", "clothes", "scene", "pose"}
    assert len({case.seed for case in plan.cases}) == len(COLUMNS)  # a column starts from one noise

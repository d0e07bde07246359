"""The figures of `facefact eval groups`, on answers whose scores are known, and the whole of it at tiny size."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefact.apps import cli
from facefact.evaluate.group_cases import CHANGED, cases_of
from facefact.evaluate.groups import SIZE, Bench, columns
from facefact.evaluate.protocol import protocol
from facefact.world import visible

PLAN = protocol(5, people=12, per_person=1)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_everybody_is_in_one_group_in_one_scene(count: int) -> None:
    cases = cases_of(PLAN, 5, count, people=12)
    assert [i for case in cases for i in case.own] == list(range(12))
    for case in cases:
        assert len({(one["scene"], one["light"]) for one in case.wanted}) == 1
        for wanted, (who, before), own in zip(case.wanted, case.before, case.own, strict=True):
            kept = {name: value for name, value in wanted.choices.items() if name not in CHANGED}
            assert kept.items() <= before.choices.items()
            assert who.seed != PLAN.people[own].seed
    alone = cases_of(PLAN, 5, 1, people=12)[::count]
    assert [case.before[0][0].seed for case in cases] == [case.before[0][0].seed for case in alone]
    fewer = cases_of(PLAN, 5, count, people=8)
    assert [(case.own, case.wanted) for case in fewer] == [(case.own, case.wanted) for case in cases[: 8 // count]]


class Knows:
    """Judges who see in a square the person and the look whose numbers are its first two pixels."""

    def embed(self, squares: Any) -> np.ndarray:
        return np.eye(12)[[int(square[0, 0, 0]) for square in squares]]

    def read(self, squares: Any) -> list[dict[str, str]]:
        return [PLAN.cases[int(square[0, 1, 0])].wanted.choices for square in squares]


def judged(order: list[int], count: int) -> Any:
    """What is said of pictures in whose squares these people are, in the looks of those who should be there."""
    cases = cases_of(PLAN, 5, count, people=12)
    pictures = []
    for case in cases:
        picture = np.zeros((SIZE, SIZE * count, 3), np.uint8)
        for i, own in enumerate(case.own):
            picture[0, SIZE * i, 0], picture[0, SIZE * i + 1, 0] = order[own], own
        pictures.append(picture)
    bench = Bench(PLAN, 12, SimpleNamespace(), SimpleNamespace(), SimpleNamespace(), Knows(), np.eye(12))  # type: ignore[arg-type]
    return bench.judged(cases, pictures).figures()


def test_the_right_people_score_one_and_neighbours_are_a_mixture() -> None:
    right = judged(list(range(12)), 3)
    assert (right["rank1"].value, right["mixing"].value) == (1.0, 0.0)
    swapped = judged([1, 0, *range(2, 12)], 3)
    assert swapped["rank1"].value == pytest.approx(10 / 12)
    assert swapped["mixing"].value == pytest.approx(2 / 12), "a face that is a neighbour's"
    strangers = judged([11, *range(1, 11), 0], 3)
    assert strangers["rank1"].value == pytest.approx(10 / 12)
    shared = sum(name not in ("scene", "light") for case in PLAN.cases for name in visible(case.wanted))
    assert right["attributes"].value * right["attributes"].n >= shared


def test_squares_are_columns() -> None:
    masks = columns(3)
    assert sum(masks).eq(1).all()  # type: ignore[union-attr]
    assert masks[1][:, SIZE : 2 * SIZE].all()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--people", "8", "--steps", "1", "--counts", "2", "--device", "cpu"]
    more += ["--ways", "squares", "one_by_one", "noise", "portraits", "--alike"]
    files = ["--json", str(tmp_path / "groups.json"), "--sheet", str(tmp_path / "sheet.png")]
    assert cli.main(["eval", "groups", *more, *files]) == 0
    found = json.loads((tmp_path / "groups.json").read_text())
    for name in ("rank1", "mixing", "attributes", "cost_ratio", "alike"):
        assert set(found[name]["2"]) == {"value", "low", "high", "n"}
    assert found["rank1"]["2"]["n"] == found["single"]["rank1"]["n"] == 8
    for name in ("cost_ratio", "by_one_person", "by_turns"):
        assert found[name]["2"]["value"] > 0
    assert found["way"] == "squares"
    assert found["small_faces"]["1"]["pixels"]["value"] > 0.9
    names = ("rank1", "mixing", "attributes", "changed_attributes", "single")
    assert [found[name] for name in names] == [found["one_by_one"][name] for name in names], "one batch, or each alone"
    assert "rank1" in found["noise"]
    assert "rank1" in found["portraits"]
    assert Image.open(tmp_path / "sheet.png").size == (2 * SIZE, (3 + 4) * SIZE)
    assert "cost_ratio.2" in capsys.readouterr().out
    assert cli.main(["eval", "groups", "--counts", "9"]) == 2

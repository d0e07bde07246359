"""The table of `facefact eval steps`: real pictures of the embedded model, as few as make sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facefact.adapter import Local
from facefact.apps import cli
from facefact.demo import bundle_path, judges_path
from facefact.evaluate.sampling import (
    Row,
    Way,
    curve,
    draw,
    markdown,
    markdown_local,
    measure,
    parts,
    read_table,
    write_table,
)
from facefact.types import UserError

SMALL = {"seed": 3, "people": 3, "per_person": 1}
WAYS = [Way(steps=2), Way(steps=2, start=0.6), Way(steps=2, start=1.0), Way(steps=1, scheduler="lcm", guidance_scale=1)]
LOCAL = [Way(steps=4), Way(steps=4, local=Local(looks=1)), Way(steps=4, local=Local(looks=1, reuse=3))]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return measure(bundle_path(), judges_path(), WAYS, **SMALL)


def test_the_face_counts_in_a_part_of_the_calls(rows: list[Row]) -> None:
    assert [row["calls"] for row in rows] == [
        {"all": 2, "with_face": 2},
        {"all": 2, "with_face": 0},
        {"all": 2, "with_face": 0},
        {"all": 1, "with_face": 1},
    ]  # DDIM, trailing: the second of two steps is at half of the noise, which is more than 0.4
    whole, late, never, _ = rows
    assert whole["adapter"]["outside_change"]["value"] > 0 == never["adapter"]["outside_change"]["value"]
    for name in ("rank1", "cos_own", "attributes"):
        assert never["adapter"][name] == never["base"][name] == late["adapter"][name], "no face is the base model"
    lost = whole["adapter"]["cos_own"]["value"] - never["adapter"]["cos_own"]["value"]
    assert never["loss"]["cos_own"]["value"] == pytest.approx(lost, abs=2e-4)
    assert "loss" not in whole


def test_the_table_is_said_and_drawn(rows: list[Row], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    said = markdown(rows)
    assert len(said.splitlines()) == 2 + len(rows)
    assert "| ddim | 3 | 2 | 0.6-1 | 0 of 2 |" in said
    draw(rows, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_local_mode_finds_the_faces_and_saves_work(tmp_path: Path) -> None:
    exact, local, reused = measure(bundle_path(), judges_path(), LOCAL, **SMALL)
    assert 0.3 < local["work"] < 0.7
    assert 0.3 < reused["work"] < local["work"]
    assert exact["work"] == 1
    assert abs(local["loss"]["cos_own"]["value"]) < 0.02, "these three people keep their identity"
    assert local["adapter"]["outside_change"]["value"] < exact["adapter"]["outside_change"]["value"]
    first, *others = markdown_local([exact, local, reused]).splitlines()[2:]
    assert first.startswith("| exact | 4 | 1.0 |")
    assert [line.split("|")[1].strip() for line in others] == ["local, looks 1", "local, looks 1, reuse 3"]
    write_table(tmp_path / "a.json", bundle_path(), [exact, local, reused])
    rows = read_table(tmp_path / "a.json", bundle_path())
    assert measure(bundle_path(), judges_path(), LOCAL, rows=rows, **SMALL) == rows, "nothing is made again"


def test_an_interrupted_table_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "steps.json"
    call = ["eval", "steps", "--json", str(path), "--people", "2", "--only", "curve", "--steps", "1", "--device", "cpu"]
    assert cli.main([*call, "--schedulers", "ddim", "--guidance-scale", "1"]) == 0
    first = read_table(path, bundle_path())
    assert cli.main([*call, "--schedulers", "ddim", "--guidance-scale", "1", "3"]) == 0
    second = read_table(path, bundle_path())
    assert second[:-1] == first
    assert [row["guidance_scale"] for row in second] == [1.0, 3.0]
    capsys.readouterr()
    path.write_text(json.dumps({"models": {}, "rows": []}))
    assert cli.main(call) == 2
    assert "another bundle" in capsys.readouterr().err
    path.write_text("[]")
    assert cli.main(call) == 2
    assert "is no table" in capsys.readouterr().err


def test_what_is_measured_by_default() -> None:
    assert len({(way.scheduler, way.steps, way.guidance_scale) for way in curve()}) == len(curve()) == 36
    assert parts()[0] == Way()
    assert [(way.start, way.end) for way in parts([(0.1, 0.9)], steps=4)] == [(0.1, 0.9)]
    with pytest.raises(UserError, match="choose from ddim"):
        curve(schedulers=["magic"])

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefact.apps import cli
from facefact.evaluate.inpaint import NAMES, WAYS, inpaint_protocol, outside_change, placed, seam

POINTS = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])


def test_the_protocol_is_held_out_balanced_and_always_the_same() -> None:
    plan, again = inpaint_protocol(3, people=6, templates=4), inpaint_protocol(3, people=6, templates=4)
    assert len(plan.cases) == 24
    for one, other in zip(plan.cases, again.cases, strict=True):
        np.testing.assert_array_equal(one.picture, other.picture)
        assert (one.prompt, one.seed) == (other.prompt, other.seed)
    groups = [case.picture.shape[1] > case.picture.shape[0] for case in plan.cases]
    named = ["," in case.prompt for case in plan.cases]
    assert sum(groups) == sum(named) == 12
    assert all(person.seed >= 2**41 for person in plan.people)
    for case in plan.cases:
        np.testing.assert_array_equal(case.cell(case.picture), case.true.image)
        if "," not in case.prompt:
            assert case.expression == case.shown["expression"]
        assert case.shown["glasses"] != "sun"


def test_the_neck_is_skin_that_is_no_face() -> None:
    seen = [case for case in inpaint_protocol(3, people=8, templates=2).cases if case.neck.sum() > 50]
    assert len(seen) > 8
    for case in seen:
        assert not (case.neck & case.true.face).any()
        rows, _ = np.nonzero(case.neck)
        assert np.median(rows) > case.true.landmarks[3:, 1].mean(), "under the mouth"


def test_placed_is_about_the_middles_of_eyes_and_mouth() -> None:
    distance = POINTS[1, 0] - POINTS[0, 0]
    assert placed(POINTS, POINTS)
    assert placed(POINTS + 0.05 * distance, POINTS) == (0.05 * np.sqrt(2) <= 0.06)
    wider = POINTS + np.array([[-5, 0], [5, 0], [0, 0], [3, 0], [-3, 0]])
    assert placed(wider, POINTS), "other eyes, another mouth, in the same place"
    lower = POINTS.copy()
    lower[3:, 1] += 0.07 * distance
    assert not placed(lower, POINTS)


def test_seam_and_outside() -> None:
    old = np.full((60, 60, 3), 100, np.uint8)
    old[::6] = 110
    patched, soft = old.copy(), old.astype(float)
    patched[20:40, 20:40] += 60
    y, x = np.mgrid[:60, :60]
    bump = 60 * np.exp(-(((x - 30) ** 2 + (y - 30) ** 2) / 60))
    soft = np.round(old + bump[..., None]).astype(np.uint8)
    assert np.isnan(seam(old, old))
    assert seam(old, patched) > 3 * seam(old, soft) > 0
    assert outside_change(old, patched, [[20, 20, 40, 40]]) == 0
    assert outside_change(old, patched, [[21, 20, 40, 40]]) == 60
    assert np.isnan(outside_change(old, patched, [[0, 0, 60, 60]]))


def test_the_command_measures_every_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two people, one template each, two steps: the pictures are bad, the figures are whole."""
    wanted = ["--people", "2", "--templates", "1", "--steps", "2", "--device", "cpu", "--seed", "7"]
    files = ["--json", str(tmp_path / "a.json"), "--sheet", str(tmp_path / "a.png")]
    assert cli.main(["eval", "inpaint", *wanted, *files]) == 0
    figures: dict[str, Any] = json.loads((tmp_path / "a.json").read_text())
    for way in WAYS:
        assert set(figures[way]) <= set(NAMES)
        assert set(figures[way]["placed"]) == {"value", "low", "high", "n"}
        assert 0 <= figures[way]["rank1"]["value"] <= 1
        assert figures[way]["outside_change"]["value"] == 0
    assert figures["template"]["placed"]["value"] == 1
    assert figures["found"] == figures["templates"] == 2
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size == (192 * (2 + len(WAYS)), 20 + 2 * 192)
    assert "in_place.rank1" in capsys.readouterr().out
    assert cli.main(["eval", "inpaint", "--ways", "magic"]) == 2
    assert "the ways: in_place" in capsys.readouterr().err

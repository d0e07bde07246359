"""The picture and the tables of a measurement whose effects are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.evaluate.causal.page import SHOWN, draw, markdown, reading_markdown, sheet
from facefact.evaluate.causal.run import report
from synthetic import UNREAD, synthetic


def test_the_matrices_are_drawn_side_by_side(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw(report(synthetic()), tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as one:
        assert one.width > 2 * one.height


def test_the_tables_say_what_was_measured() -> None:
    found = report(synthetic())
    lines = markdown(found).splitlines()
    assert lines[2].startswith("| the world itself | 1.00 [1.00, 1.00] |")
    assert lines[3].startswith("| half | 0.5")
    assert any(
        line.startswith(f"| {UNREAD} | 0.10 |") and line.endswith("no |")
        for line in reading_markdown(found).splitlines()
    )


def test_the_sheet_has_a_row_a_method_and_a_column_a_change() -> None:
    made, reference = np.asarray(sheet(synthetic())), synthetic().plan.requests(0)[0].references[0]
    left, top = made.shape[1] - (1 + len(SHOWN)) * 128, made.shape[0] - 4 * 128  # names and heads
    assert 0 < left < 128
    assert 0 < top < 32
    assert (made[top : top + 128, left : left + 128] == reference).all()

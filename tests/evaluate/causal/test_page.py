"""The picture and the tables of a measurement whose effects are given."""

from __future__ import annotations

from pathlib import Path

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
    made = sheet(synthetic())
    assert made.size == (116 + (1 + len(SHOWN)) * 128, 18 + 4 * 128)

"""The table of figures in a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facefact.demo import scores
from facefact.evaluate.figures_page import figures_table, write_table
from facefact.types import UserError


def test_the_table_says_what_the_figures_say() -> None:
    one = {"value": 0.25, "low": 0.2, "high": 0.31, "n": 40}
    text = figures_table(
        {
            "adapter": {"rank1": one},
            "by_skin": {skin: {"rank1": one | {"value": value}} for skin, value in (("dark", 0.1), ("light", 0.3))},
            "leakage": {"base": {"hat": one}, "adapter": {"hat": one}},
        }
    )
    assert "| adapter, rank-1 among 100 unseen people | 0.250 [0.200, 0.310] (n = 40) |" in text
    assert "| 0.30 / 0.10 |" in text
    assert "| leakage of the reference's hat: base / adapter | 0.250 / 0.250 [0.200, 0.310] (n = 40) |" in text
    assert len(text.splitlines()) == 5
    assert len(figures_table(scores()).splitlines()) > 12


def test_the_block_of_a_page_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# A\n<!-- FIGURES (from x) -->\nold\n<!-- /FIGURES -->\nend\n")
    for _ in range(2):
        write_table(page, json.loads(json.dumps(scores())))
        text = page.read_text()
        assert text.startswith("# A\n<!-- FIGURES (from x) -->\n| what | ")
        assert text.endswith("|\n<!-- /FIGURES -->\nend\n")
        assert "old" not in text
    (tmp_path / "b.md").write_text("nothing")
    with pytest.raises(UserError, match="no marks"):
        write_table(tmp_path / "b.md", scores())

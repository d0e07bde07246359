"""The report of the claims as tables and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facefact.evaluate.claims.page import markdown, summary
from facefact.evaluate.claims.plan import FIGURES
from facefact.evaluate.claims.plot import draw, style_of
from facefact.markdown import put_between
from facefact.types import UserError


def report() -> dict[str, Any]:
    one = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}
    figures = dict.fromkeys((*FIGURES, "leakage.hat", "causal_leakage"), one)
    method = {
        "seeds": [1],
        "pictures_seen": 1000,
        "learned_weights": 3000,
        "hours": 1.0,
        "note": "a note",
        "figures": figures,
        "fairness": {"rank1": {"light": one, "dark": one | {"value": 0.3}, "apart": one | {"low": -0.3, "high": -0.1}}},
        "scales": {"0.4": figures, "0.7": figures},
        "change": np.eye(4).tolist(),
    }
    claim = {"claim": "it works", "holds": False, "figure": "rank1", "why": "-0.1"}
    return {
        "measured": {"people": 10, "steps": 12, "scale": 0.7, "causal": 4},
        "hours": 1.0,
        "methods": {"fact": method, "base": method | {"change": np.zeros((4, 4)).tolist(), "figures": {}}},
        "claims": [claim],
    }


def test_the_tables_say_what_the_report_says(tmp_path: Path) -> None:
    text = summary(report())
    assert "| 0.50 [0.40, 0.60] |" in text
    assert "**does not hold**" in text
    assert "fact: a note" in text
    assert "| fact | 0.50 / - / 0.30 [-0.30, -0.10] |" in text  # a row a method: there may be twenty
    assert text.count("<details>") == text.count("</details>") == 2
    assert "leakage.hat" not in text
    assert "(4 people):\n\n| method | causal fidelity |" in text
    assert "| fact | - | - | 0.50 [0.40, 0.60] |" in text
    assert "| base | - | - | - |\n" not in text  # of what was not measured there is no row
    assert "| fact | - |" in markdown(report())  # of the factors one is known
    page = tmp_path / "page.md"
    page.write_text("one\n<!-- CLAIMS a -->\n<!-- /CLAIMS a -->\n<!-- CLAIMS b -->\nB\n<!-- /CLAIMS b -->\n")
    put_between(page, "CLAIMS a", text)
    assert page.read_text().endswith(f"{text}\n<!-- /CLAIMS a -->\n<!-- CLAIMS b -->\nB\n<!-- /CLAIMS b -->\n")
    with pytest.raises(UserError, match="no marks <!-- CLAIMS c"):
        put_between(page, "CLAIMS c", text)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    drawn = report()
    drawn["methods"]["base"]["scales"] = {"0.7": drawn["methods"]["fact"]["figures"]}
    assert draw(drawn, tmp_path / "claims.png")
    assert (tmp_path / "claims.png").stat().st_size > 5000


def test_no_two_methods_look_alike() -> None:
    """Not even those of a single point, of which the line is not seen."""
    looks = {(*(style_of(i)[key] for key in ("marker", "color")), "markerfacecolor" in style_of(i)) for i in range(100)}
    assert len(looks) == 100

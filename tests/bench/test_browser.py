"""The benchmark of the page: a tiny run of it in a real browser, and its page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="needs Gradio (extra `app`)")
pytest.importorskip("playwright", reason="needs Playwright")

from facefact.apps.cli import main
from facefact.bench.browser import BROWSERS, bench_page
from facefact.bench.browser_page import markdown


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no Chromium is installed: apt-get install chromium")
def test_a_tiny_run_finds_every_figure(tmp_path: Path) -> None:
    """Two starts of the program; the bars are for quiet machines."""
    picture = tmp_path / "page.png"
    figures = bench_page(starts=1, clicks=2, picture=picture)
    json.dumps(figures)
    cold = {name: one[0] for name, one in figures["cold"].items()}
    assert 0 < cold["address"] <= cold["page"] <= cold["portrait"] <= cold["likeness"]
    assert cold["processor"] > 2 or not Path("/proc/self/stat").exists()
    assert all(0 < one["p50_ms"] <= one["p95_ms"] <= one["max_ms"] for one in figures["answers"].values())
    with Image.open(picture) as image:
        assert image.width == 1280


def test_a_bar_that_is_missed_is_said() -> None:
    cold = {
        "address": [1.0, 2.0, 3.0],
        "page": [4.0] * 3,
        "portrait": [9.0, 9.9, 20.0],
        "likeness": [11.0] * 3,
        "processor": [8.0] * 3,
    }
    one = {"n": 40, "p50_ms": 30.0, "p95_ms": 150.0, "max_ms": 300.0}
    figures = {
        "machine": {"cores": 2},
        "load after": 1.5,
        "cold": cold,
        "answers": {"served": one, "browser alone": one},
    }
    page = markdown(figures, "facefact bench page")
    assert "| the first portrait is seen | 9.9 | 9.0, 9.9, 20.0 |" in page
    assert "MISSED" not in page
    assert "MISSED" in markdown(figures | {"cold": cold | {"portrait": [10.1] * 3}}, "facefact bench page")
    slow = {"served": one | {"p95_ms": 201.0}, "browser alone": one}
    assert "MISSED" in markdown(figures | {"answers": slow}, "facefact bench page")


def test_what_cannot_be_measured_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "page", "--only", "speed"]) == 2
    assert "choose from cold, answers" in capsys.readouterr().err
    assert main(["bench", "page", "--only", "answers", "--picture", "a.png"]) == 2
    assert "--only cold" in capsys.readouterr().err

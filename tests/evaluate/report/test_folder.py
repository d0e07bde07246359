"""A report's three files, and two reports compared."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facefact.apps import cli
from facefact.evaluate.causal.run import report as written
from facefact.evaluate.report.causal import causal_report
from facefact.evaluate.report.compare import as_json as compared
from facefact.evaluate.report.compare import changes
from facefact.evaluate.report.folder import write_folder
from facefact.evaluate.report.record import Heat, Report, Tile, flat, read_report
from facefact.metrics.scores import Figure
from facefact.types import UserError
from synthetic import synthetic

PICTURE = np.full((8, 8, 3), 90, np.uint8)


def report(rank1: float = 0.5) -> Report:
    return Report(
        suite="a suite",
        about={"seed": 1, "people": 9},
        methods={
            "FACT": flat(
                {"rank1": Figure(rank1, rank1 - 0.05, rank1 + 0.05, 9), "leakage": {"hat": Figure(0, 0, 0.1, 9)}}
            ),
            "<base>": {"rank1": Figure(0.1, 0.0, 0.2, 9)},
        },
        words={"rank1": "the right one"},
        matrices={"M": Heat(("a", "b"), ("c",), np.array([[0.5], [np.nan]]))},
        galleries={"worst": (Tile(PICTURE, "cosine 0.1", "a prompt"),)},
    )


def test_the_json_is_read_back_and_says_its_version(tmp_path: Path) -> None:
    write_folder(report(), tmp_path)
    found = read_report(tmp_path)
    assert (found["schema"], found["version"]) == ("facefact.report", 1)
    assert found["methods"]["FACT"]["leakage.hat"] == {"value": 0, "low": 0, "high": 0.1, "n": 9}
    assert found["matrices"]["M"]["values"] == [[0.5], [None]]


def test_the_page_is_whole_in_itself_and_sorts(tmp_path: Path) -> None:
    write_folder(report(), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", page)
    assert 'class="sorts"' in page
    assert 'data-value="0.5"' in page
    assert "&lt;base&gt;" in page
    assert "<base>" not in page
    assert "data:image/jpeg" in page
    assert "a → c: 0.50" in page


def test_the_markdown_is_a_table_for_a_card(tmp_path: Path) -> None:
    write_folder(report(), tmp_path)
    assert "| rank1 | 0.500 [0.450, 0.550] | 0.100 [0.000, 0.200] |" in (tmp_path / "report.md").read_text()


def test_the_same_measurement_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        measured = synthetic(0.5)
        write_folder(causal_report(measured, written(measured)), tmp_path / name)
    for name in ("report.json", "report.html", "report.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    found = read_report(tmp_path / "a")
    assert found["methods"]["half"]["fidelity"]["value"] == pytest.approx(0.5, abs=0.05)
    assert "gain.skin_tone" in found["methods"]["half"]
    assert "gain.jaw" not in found["methods"]["half"]
    assert len(found["matrices"]["half"]["values"]) == 32


def test_compare_says_what_changed_beyond_the_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(report(0.5), tmp_path / "a")
    write_folder(replace(report(0.7), about={"seed": 2, "people": 9}), tmp_path / "b")
    write_folder(report(0.55), tmp_path / "c")
    assert cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert "1 of 3 figures changed" in said
    assert "seed: 1 -> 2" in said
    assert "| FACT | rank1 | 0.500 [0.450, 0.550] | 0.700 [0.650, 0.750] | +0.200 |" in said
    assert cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "c"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"settings": {}, "compared": 3, "changed": []}


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    write_folder(report(), tmp_path / "a")
    one = read_report(tmp_path / "a")
    with pytest.raises(UserError, match="different suites"):
        changes(one, {**one, "suite": "another"})
    with pytest.raises(UserError, match="no figure"):
        compared(one, {**one, "methods": {}})
    for text, line in (
        ("{", "no JSON"),
        ("{}", "is no report"),
        ('{"schema": "facefact.report", "version": 9}', "version 9"),
    ):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(UserError, match=line):
            read_report(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        read_report(tmp_path / "nowhere")

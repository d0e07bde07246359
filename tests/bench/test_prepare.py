"""The benchmark of the preparation at tiny sizes: its arithmetic and its structure, not the speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefact.apps.cli import main
from facefact.apps.commands.bench import _with_earlier
from facefact.bench import alignment
from facefact.bench import prepare as bench
from facefact.bench.memory import MIB, family, resident_of, thinned, watch
from facefact.bench.prepare_page import draw, markdown
from facefact.data.inputs import list_entries
from facefact.data.prepare_config import PeopleSettings
from facefact.types import UserError
from portraits import SETTINGS, people

pytest.importorskip("pyarrow", reason="pyarrow is not installed (facefact[data])")

NAMED = replace(SETTINGS, people=PeopleSettings(recogniser="auto"))  # of avatars: the bundle's encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = people(tmp_path_factory.mktemp("bench") / "album", count=3, looks=3)
    (made / "Person_0" / "words.jpg").write_text("I am no picture")
    return made


@pytest.fixture(scope="module")
def figures(folder: Path) -> dict[str, Any]:
    return bench.bench_prepare(folder, NAMED, parts=("stages", "people"))


def test_one_detector_alone_is_not_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "BACKENDS", ())
    found = bench.bench_prepare(folder, SETTINGS, parts=("alignment",))["alignment"]
    assert "two detectors are needed, and here is avatar" in found["skipped"]


# Stages and people


def test_the_parts_are_the_whole(figures: dict[str, Any]) -> None:
    found = figures["stages"]
    assert found["n"] == figures["input"]["files"] == 10
    asked = found["asked"]
    assert asked["decode"] == 10
    assert asked["detect: faces"] == asked["encode: JPEG and masks"] == 9
    assert [asked[name] for name in asked if name.startswith("person")] == [9, 9], "views; all together"
    parts = found["cpu_ms_per_picture"]
    assert list(parts)[0] == "decode"
    assert list(parts)[-1] == "between"
    assert sum(found["share"].values()) == pytest.approx(1, abs=0.01)
    assert sum(parts.values()) == pytest.approx(found["cpu_ms_whole"], abs=0.1)
    assert found["pictures_per_cpu_second"] == pytest.approx(1000 / found["cpu_ms_whole"], rel=0.01)


def test_people_are_found_without_their_names(figures: dict[str, Any]) -> None:
    found = figures["people"]
    assert found["pictures"] == 9
    assert found["people"] == 3
    assert found["recall"]["n"] == 9, "three pairs each"
    for name in ("precision", "recall", "auc", "own_rejected"):
        assert 0 <= found[name]["low"] <= found[name]["value"] <= found[name]["high"] <= 1
    assert found["auc"]["value"] > 0.9


def test_nobody_to_ask_is_said(folder: Path) -> None:
    found = bench.bench_prepare(folder, SETTINGS, parts=("people",))
    assert "recogniser" in found["people"]["skipped"]


# The command


def test_the_command_is_watched(folder: Path) -> None:
    found = bench.bench_prepare(folder, SETTINGS, parts=("run",), times=1)
    run = found["run"]
    assert run["kept"]["inputs"] == 10
    assert run["kept"]["kept"] == run["kept"]["share"]["value"] * 10 == 9
    assert run["kept"]["rejected"] == {"decode: not a picture": 1}
    once = run["once"]
    assert once["pictures_per_second"] > 0
    assert once["pictures_per_cpu_second"] == pytest.approx(10 / once["cpu_seconds"], rel=0.01)
    assert "many" not in run
    if Path("/proc/self/status").exists():
        assert once["peak_mib"]["parent"] > 50
        assert once["peak_mib"]["worker"] > 50, "a process of its own"
        assert 0 < len(once["curve"]) <= 60


def test_copies_are_other_files_of_other_people_and_the_same_pictures(folder: Path, tmp_path: Path) -> None:
    entries = list_entries(folder, "people")
    copied = list_entries(bench.copies(folder, entries, tmp_path / "copies", 3), "people")
    assert len(copied) == 3 * len(entries)
    assert len({entry.person for entry in copied}) == 9
    contents = {entry.place.path.read_bytes() for entry in copied}
    assert len(contents) == len(copied), "no two are the same file"
    originals = {np.asarray(Image.open(one.place.path)).tobytes() for one in entries if one.name.endswith("png")}
    assert {np.asarray(Image.open(one.place.path)).tobytes() for one in copied if one.name.endswith("png")} == originals


def test_growth_is_per_further_picture() -> None:
    once = {"n": 10, "cpu_seconds": 7.0, "peak_mib": {"parent": 100.0, "worker": 200.0}}
    many = {"n": 110, "cpu_seconds": 17.0, "peak_mib": {"parent": 101.0, "worker": 200.0}}
    found = bench.growth(once, many)
    assert found["cpu_seconds_per_further_picture"] == pytest.approx(0.1)
    assert found["cpu_seconds_to_start"] == pytest.approx(6.0)
    assert found["kib_per_further_picture"] == {"parent": 10.24, "worker": 0.0}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")
def test_the_peak_is_remembered_when_the_memory_is_gone() -> None:
    code = "import numpy as np; held = np.ones(64 << 20, np.uint8); del held; print('gone', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "gone\n"
    assert child.pid in family(os.getpid())
    now, peak = resident_of(child.pid) or (0, 0)
    child.communicate("\n")
    assert peak > now + 32 * MIB
    assert resident_of(child.pid) is None


def test_a_curve_keeps_its_peaks() -> None:
    samples = [(float(i), 1.0 + (i == 77), 5.0 * (i == 123)) for i in range(500)]
    curve = thinned(samples, 60)
    assert len(curve) <= 60
    assert max(parent for _, parent, _ in curve) == 2.0
    assert max(worker for _, _, worker in curve) == 5.0
    assert thinned([]) == []


def test_a_command_that_fails_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert watch(["--version"]).output.startswith("facefact ")
    with pytest.raises(UserError, match="did not finish"):
        watch(["prepare", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")])
    assert "there is nothing at" in capfd.readouterr().err


# What is made of it


def test_the_figures_are_json_a_page_and_a_plot(figures: dict[str, Any], tmp_path: Path) -> None:
    both = figures | {"alignment": {"skipped": "of no interest here"}}
    json.dumps(both)
    text = markdown(both, "facefact bench prepare album")
    assert "of no interest here" in text
    assert "| encode: JPEG and masks |" in text
    assert "9 pictures of 3 people" in text
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (facefact[train])")
    draw(both, tmp_path / "plot.png")
    assert Image.open(tmp_path / "plot.png").size[0] > 500


def test_the_parts_of_earlier_calls_stay(tmp_path: Path) -> None:
    same = {"input": {"name": "album"}, "settings": {"chunk": 32}, "models": []}
    path = tmp_path / "figures.json"
    path.write_text(json.dumps({**same, "people": 1, "stages": 1}))
    assert _with_earlier({**same, "stages": 2}, path) == {**same, "people": 1, "stages": 2}
    other = {**same, "settings": {"chunk": 1}, "stages": 2}
    assert _with_earlier(other, path) == other, "of other settings"


def test_wrong_calls_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((160, 160, 3), np.uint8)).save(tmp_path / "a.png")
    for arguments, line in (
        ([str(tmp_path)], "a folder for each person"),
        ([str(tmp_path), "--only", "speed"], "choose from alignment"),
        ([str(tmp_path), "--times", "0"], "--times"),
        ([str(tmp_path / "none")], "there is nothing at"),
    ):
        assert main(["bench", "prepare", *arguments]) == 2
        said = capsys.readouterr().err.strip()
        assert line in said
        assert "\n" not in said

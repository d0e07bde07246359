"""The report of a run: everything in one file, nothing believed, nothing missed when something is missing."""

from __future__ import annotations

import getpass
import json
import re
import socket
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from live import LiveStage, batches
from PIL import Image

from facefact.train.engine.loop import Schedule, fit
from facefact.train.report.page import duration, spread, stairs, write_environment, write_report
from facefact.train.report.plots import smoothed
from facefact.train.report.run_folder import RunFolder, read_metrics, without_paths

pytest.importorskip("matplotlib")

CONFIG = {
    "recipe": "adapter",
    "schedule": {"steps": 6, "batch": 4},
    "base": {"source": "owner/<script>alert(1)</script>"},
    "data": {"source": "/home/somebody/My Data/faces", "size": [[0, 64], [4, 128]]},
    "condition": {"shuffle": [[0, 0.0], [3, 1.0]]},
}
VOID = {"meta", "img", "br"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a small real training, with two validations, a checkpoint, and its report."""
    folder = tmp_path_factory.mktemp("runs") / "my & run"
    fit(LiveStage(), batches, Schedule(steps=6, batch=4, warmup=1, precision="fp32", log_every=1), folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    for step, own in ((3, 0.2), (6, 0.4)):
        looked = folder / f"validation/step-{step}"
        looked.mkdir(parents=True)
        figures = {
            "step": step,
            "people": 2.0,
            "pictures": 4.0,
            "faces_found": 3.0,
            "similarity_own": own,
            "similarity_other": 0.1,
            "rank1": 0.5,
            "outside_change": 3.0,
            "leak": {"layers": []},
        }
        (looked / "figures.json").write_text(json.dumps(figures))
        Image.new("RGB", (1500, 700), (200, 10 * step, 30)).save(looked / "sheet.png")
        Image.new("RGB", (90, 40), "red").save(looked / "leak.png")
    write_environment(folder, processes=2)
    assert write_report(folder) == folder / "report.html"
    return folder


class Checked(HTMLParser):
    """Every tag is closed in its order; what the page shows and names is collected."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def read(path: Path) -> Checked:
    page = Checked()
    page.feed(path.read_text(encoding="utf-8"))
    assert not page.open
    return page


def test_the_page_holds_everything_and_needs_nothing(run) -> None:
    page = read(run / "report.html")
    assert {"script", "link", "iframe"} & set(page.tags) == set()
    assert all(re.match(r"data:image/(png|jpeg);base64,[\w+/=]+$", source) for source in page.sources)
    # 4 curves, 2 settings that change, 3 figures of the validations, 2 contact sheets, 1 leak meter
    assert len(page.sources) == 12
    for words in (
        "6 of 6",
        "Curves",
        "condition.shuffle",
        "data.size",
        "Contact sheet of step 6",
        "Leak meter",
        "3 of them",
        "not an independent judge",
        "Checkpoints",
        "torch",
        "waiting for data",
    ):
        assert words in page.text, words
    made = {"config.yaml", "curves.png", "environment.json", "metrics.jsonl", "report.html"}
    assert {path.name for path in run.iterdir() if path.is_file() and path.suffix} == made
    with Image.open(run / "curves.png") as curves:
        assert curves.width > 800


def test_settings_are_text_and_not_markup(run) -> None:
    raw, page = (run / "report.html").read_text(encoding="utf-8"), read(run / "report.html")
    assert "<script>" not in raw
    assert "owner/<script>alert(1)" in page.text
    assert "my & run" in page.text


def test_where_the_data_lie_stays_private(run) -> None:
    raw = (run / "report.html").read_text(encoding="utf-8")
    assert "somebody" not in raw
    assert "My Data" not in raw
    assert "faces" in raw
    assert str(run.parent) not in raw


@pytest.mark.parametrize("text", ["", "not: [yaml", "{}", "stage: {steps: 3}", "schedule: 3\ndata: x"])
def test_a_run_that_just_began(tmp_path, text) -> None:
    (tmp_path / "config.yaml").write_text(text)
    page = read(write_report(tmp_path))
    assert "No step has been taken yet" in page.text


def test_an_empty_folder_has_a_report_and_broken_files_are_left_out(tmp_path) -> None:
    assert "No step" in read(write_report(tmp_path)).text
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0, "fair": null}\n[]\n{"step": 2, "lo')
    (tmp_path / "environment.json").write_text("{")
    (tmp_path / "validation/step-9").mkdir(parents=True)
    (tmp_path / "validation/step-9/figures.json").write_text('{"rank1": "high"}')
    assert "2.0000" in read(write_report(tmp_path)).text


def test_of_a_step_that_was_done_twice_the_last_record_counts(tmp_path) -> None:
    lines = [{"step": 2, "loss": 1.0}, {"step": 1, "loss": 5.0}, {"step": 2, "loss": 3.0}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [one["loss"] for one in read_metrics(tmp_path / "metrics.jsonl")] == [5.0, 3.0]


@pytest.mark.parametrize("share", [0.05, 0.6])
def test_samples_without_another_picture_are_told_and_many_are_a_warning(tmp_path, share) -> None:
    lines = [{"step": step, "loss": 1.0, "no_other_picture": share * step} for step in (0.5, 1.5)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(json.dumps(one | {"step": i}) for i, one in enumerate(lines, 1)))
    page = read(write_report(tmp_path))
    assert RunFolder.read(tmp_path).no_other_picture() == pytest.approx(share)
    assert f"{100 * share:.2g} %" in page.text
    assert ("people.min_pictures=2" in page.text) == (share > 0.2)


def test_time_pace_and_waiting(tmp_path) -> None:
    """Records every second step, of 2 s with 0.5 s of waiting, then one of 4 s without."""
    lines = [
        {"step": 2, "seconds": 2.0, "data_wait": 0.5},
        {"step": 4, "seconds": 2.0, "data_wait": 0.5},
        {"step": 6, "seconds": 4.0, "data_wait": 0.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "config.yaml").write_text("schedule: {steps: 6, batch: 3, accumulate: 2}")
    (tmp_path / "environment.json").write_text('{"processes": 4}')
    run = RunFolder.read(tmp_path)
    assert run.seconds() == pytest.approx(2 * 2 + 2 * 2 + 2 * 4)
    assert run.waited() == pytest.approx(1 / 8)
    assert run.samples_per_step == 24
    assert run.samples_per_second() == pytest.approx(24 / 2)


def test_the_environment_tells_versions_and_nobodys_name(tmp_path) -> None:
    text = write_environment(tmp_path / "run", processes=2).read_text()
    found = json.loads(text)
    assert {"facefact", "python", "torch", "diffusers", "transformers", "accelerate", "device", "cores"} <= found.keys()
    assert found["processes"] == 2
    private = {socket.gethostname(), str(Path.home()), str(tmp_path)} | ({getpass.getuser()} - {"root"})
    assert not [word for word in private if word in text]
    assert "/" not in "".join(str(value) for name, value in found.items() if name != "device")


def test_paths_lose_all_but_their_last_part() -> None:
    assert without_paths("cache: /home/me/a b/cache\n- '~/x/y'") == "cache: .../cache\n- '.../y'"
    assert without_paths("read from /data/people/set, at 3/4") == "read from .../set, at 3/4"
    assert without_paths(r"C:\Users\me\set") == ".../set"
    kept = "source: owner/name\nurl: https://example.org/a/b\nlocal: data/set"
    assert without_paths(kept) == kept


def test_the_smoothed_line_has_no_bias_at_its_start() -> None:
    np.testing.assert_allclose(smoothed(np.full(500, 3.0)), 3.0)
    assert smoothed(np.array([5.0]))[0] == 5.0
    noisy = np.random.default_rng(0).standard_normal(2000)
    assert smoothed(noisy)[500:].std() < 0.2 * noisy.std()


def test_small_parts() -> None:
    assert [duration(seconds) for seconds in (3.14, 65, 3600 + 125)] == ["3.1 s", "1 min 05 s", "1 h 02 min"]
    assert spread(list("abcdefghi"), 3) == ["a", "d", "g"]
    assert spread(list("ab"), 3) == ["a", "b"]
    assert stairs([(0, 64), (4, 128)]) == ((0.0, 64.0), (4 - 1e-3, 64.0), (4.0, 128.0))

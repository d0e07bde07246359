"""The benchmark of the service: its arithmetic, a tiny run of it against the real service, its page."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs FastAPI (extra `serve`)")

from facefact.apps.cli import main
from facefact.bench import serve as bench
from facefact.bench.serve import Load, Memory, percentiles, send, submissions
from facefact.bench.serve_page import batch_section, markdown
from facefact.bench.serve_process import Served
from facefact.types import UserError

TINY = Load(submissions=24, clients=4, rate=24.0, queue=3, depth=3, batch=3, steps=1, rounds=1, pick_ups=2)


def test_a_tiny_run_finds_every_job_again(tmp_path: Path) -> None:
    """One start of the service; the bars are for quiet machines and real numbers."""
    load = bench.under_load(tmp_path, TINY, TINY.rate, lambda *told: None)
    assert set(load["answers"]) == {"202", "429"}, "the queue is full at some time"
    assert sum(load["answers"].values()) == 24
    assert (load["without_answer"], load["refused_without_retry_after"]) == (0, 0)
    assert (load["lost"], load["twice"], load["unasked"]) == (0, 0, 0)
    assert sum(load["states"].values()) == load["answers"]["202"] == load["seconds_accepted"]["n"]
    assert 0 < load["seconds"]["p50_ms"] <= load["seconds"]["p95_ms"] <= load["seconds"]["max_ms"]
    if Path("/proc/self/status").exists():
        assert load["memory_mib"]["most"] > 50
    batch = {"depth": 3, "batch": 3, "steps": 1, "n": 1}
    batch |= {name: {"median": 2.0, "low": 1.0, "high": 3.0} for name in ("gain",)}
    batch["portraits_per_hour"] = {name: {"median": 2e3, "low": 1e3, "high": 3e3} for name in ("batch", "one")}
    figures = {"machine": {"cores": 2}, "settings": {"submissions": 24, "clients": 4, "queue": 8, "steps": 1}}
    figures |= {"load": {"steady": load, "at_once": load}, "pick_up": load["seconds"], "batch": batch}
    json.dumps(figures)
    page = markdown(figures, "facefact bench serve")
    assert f"| answered 202, 429 | {load['answers']['202']}, {load['answers']['429']} |" in page
    assert "## Pick-up" in page


def test_a_batch_that_gains_little_is_said() -> None:
    one = {"median": 1.2, "low": 1.1, "high": 1.3}
    found = {
        "depth": 32,
        "batch": 8,
        "steps": 10,
        "n": 3,
        "gain": one,
        "portraits_per_hour": {"batch": one, "one": one},
    }
    assert "MISSED" in batch_section(found)
    assert "MISSED" not in batch_section(found | {"gain": one | {"median": 1.31}})


def test_seconds_begin_when_a_submission_was_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """One client, answers of 0.2 s, ten a second: each waits for those before it, and that counts."""

    def slow(*asked: object) -> tuple[int, dict[str, str], bool]:
        time.sleep(0.2)
        return 202, {"id": "x"}, False

    monkeypatch.setattr(bench, "send", slow)
    answers = submissions("http://127.0.0.1:1", Load(submissions=5, clients=1), 10.0)
    assert [round(one.begun, 1) for one in answers] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert answers[-1].seconds > 0.55
    assert [one.seconds for one in answers] == sorted(one.seconds for one in answers)


def test_a_connection_that_breaks_is_an_answer_too() -> None:
    assert send("http://127.0.0.1:1", b"", {}) == (0, {}, False)


def test_percentiles_are_milliseconds() -> None:
    found = percentiles(np.arange(101) / 100)
    assert found == {"n": 101, "p50_ms": 500.0, "p95_ms": 950.0, "p99_ms": 990.0, "max_ms": 1000.0}
    assert percentiles(np.array([])) == {"n": 0}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")
def test_memory_that_grows_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "MEMORY_LOOK", 0.02)
    code = (
        "import time; held = []\nprint(flush=True)\nfor _ in range(40): held.append(b'x' * (1 << 20)); time.sleep(0.02)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    with Memory(child.pid) as memory:
        child.wait()
    assert memory.figures()["growth"] > 8
    assert Memory(child.pid).figures() == {"skipped": "no /proc here, or it was over too soon"}


def test_a_service_that_cannot_begin_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not run any more: .*'none' is no number of workers"):
        Served(tmp_path, ["--workers", "none"]).start()


def test_wrong_calls_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, line in (
        (["--only", "speed"], "choose from load"),
        (["--rate", "0"], "rate is a number above 0"),
        (["--batch", "1"], "2 or more"),
        (["--clients", "2000"], "some would send nothing"),
    ):
        assert main(["bench", "serve", *arguments]) == 2
        said = capsys.readouterr().err.strip()
        assert line in said
        assert "\n" not in said

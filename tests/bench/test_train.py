"""The benchmark of a training step at tiny sizes: its structure and its arithmetic, not the speed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facefact.apps.cli import main
from facefact.apps.commands.bench import table
from facefact.bench import train as bench
from facefact.bench.timing import interleaved, ratio, timed
from facefact.bench.train_plot import draw
from facefact.config import load_config
from facefact.train.settings import AdapterTraining
from facefact.types import UserError

TINY = (
    "schedule.steps=1",
    "schedule.batch=2",
    "base.source=random:tiny",
    "adapter.encoder=random:tiny",
    "adapter.resampler={input_width: 32, width: 32, depth: 1, heads: 2, output_width: 32}",
    "data.people=3",
    "data.looks=2",
    "data.size=64",
    "data.validation_people=0",
)


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return bench.bench_train(load_config(AdapterTraining, overrides=TINY), rounds=2, batches=(1,), memory=False)


def test_every_variant_is_timed(figures: dict[str, Any]) -> None:
    names = {"ours", "bare", "bare_step", "bare_fair", "diffusers", "checkpointing_on", "batch_1"}
    assert set(figures["seconds_per_step"]) == names
    for one in figures["seconds_per_step"].values():
        assert one["n"] == 2
        for kind in ("wall", "cpu"):
            assert 0 < one[kind]["low"] <= one[kind]["median"] <= one[kind]["high"]


def test_ratios_and_shares(figures: dict[str, Any]) -> None:
    assert {"ours / bare", "ours / bare_step", "diffusers / ours"} <= set(figures["ratios"])
    assert all(one["cpu"]["median"] > 0 for one in figures["ratios"].values())
    assert figures["fair_share"]["cpu"]["median"] < 1
    assert 0 <= figures["data_wait_share"]["median"] < 1
    assert list(figures["samples_per_second"]) == ["1", "2"]


def test_the_figures_are_json_a_table_and_a_plot(figures: dict[str, Any], tmp_path: Path) -> None:
    assert json.loads(json.dumps(figures))["machine"]["threads"] >= 1
    assert "| FAIR's share |" in table(figures)
    pytest.importorskip("matplotlib")
    draw(figures, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_peak_memory_is_that_of_a_process_of_its_own(tmp_path: Path) -> None:
    config = bench.for_measuring(load_config(AdapterTraining, overrides=TINY))
    ballast = torch.ones(1 << 28)  # 1 GiB, here alone
    found = bench.peaks(config, tmp_path, ["ours"])
    assert 100 < found["ours"] < bench.peak_resident() / bench.MIB, len(ballast)


def test_variants_take_turns_and_the_first_round_counts_nothing() -> None:
    calls: list[str] = []
    variants = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    times = interleaved(variants, rounds=2, device=torch.device("cpu"))
    assert "".join(calls) == "abc" + "bca" + "cab"
    assert all(one.shape == (2, 2) for one in times.values())


def test_ratios_are_within_a_round() -> None:
    slow_morning = np.array([[10.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    assert ratio(2 * slow_morning, slow_morning)["wall"] == {"median": 2.0, "low": 2.0, "high": 2.0}


def test_sleep_is_wall_time_and_no_cpu_time() -> None:
    from time import sleep

    wall, cpu = timed(lambda: sleep(0.05), torch.device("cpu"))
    assert wall >= 0.05 > cpu


def test_what_cannot_be_measured_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="identity"):
        bench.for_measuring(load_config(AdapterTraining, overrides=[*TINY, "loss.identity=0.1"]))
    assert main(["bench", "train", "--steps", "0"]) == 2
    assert "--steps" in capsys.readouterr().err

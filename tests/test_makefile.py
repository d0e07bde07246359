"""The targets of the Makefile that do more than call one command."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from facefact.apps import cli

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("timeout") is None, reason="needs make and timeout"
)


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment whose facefact is this one, with everything installed."""
    made = tmp_path / "venv"
    (made / "bin").mkdir(parents=True)
    command = made / "bin/facefact"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m facefact "$@"\n')
    command.chmod(0o755)
    for stamp in (".core", ".train"):
        (made / stamp).touch()
    return made


def make(venv: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        ["make", *words, f"VENV={venv}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_gpus_training_is_a_command_that_exists(venv: Path) -> None:
    said = make(venv, "-n", "bundle-gpu").stdout
    words = shlex.split(next(line for line in said.splitlines() if "/facefact train" in line).split(";")[0])
    args = cli.build_parser("train").parse_args(words[words.index(str(venv / "bin/facefact")) + 1 :])
    assert (ROOT / args.config).is_file()
    assert "10m" in words


def test_a_wrong_recipe_is_an_error_and_no_end_of_the_time(venv: Path, tmp_path: Path) -> None:
    done = make(venv, "bundle-gpu", f"RECIPE={tmp_path / 'none.yaml'}", f"OUT={tmp_path / 'out'}")
    assert done.returncode == 2
    assert "minutes are over" not in done.stdout


RECIPE = """
recipe: adapter
schedule: {{steps: {steps}, batch: 4, lr: 1.0e-3, warmup: 1, precision: fp32, seed: 1}}
base: {{source: "random:tiny"}}
adapter:
  encoder: "random:tiny"
  resampler: {{input_width: 32, width: 32, depth: 1, heads: 2, head_width: 16, queries: 4, output_width: 32}}
data: {{people: 4, looks: 2, size: 64, validation_people: 0}}
validation: {{every: 0}}
trackers: []
"""


@pytest.mark.slow
def test_a_training_in_pieces_is_one_training(venv: Path, tmp_path: Path) -> None:
    """So many steps that the first piece ends in the middle; then the rest with the same command."""
    out, recipe = tmp_path / "out", tmp_path / "recipe.yaml"
    steps = 150
    recipe.write_text(RECIPE.format(steps=steps))

    def records() -> list[int]:
        path = out / "metrics.jsonl"
        return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.is_file() else []

    minutes, stopped = 0.16, 0
    while not records() or records()[-1] < steps:
        before = records()
        done = make(venv, "bundle-gpu", f"RECIPE={recipe}", f"OUT={out}", f"MINUTES={minutes}")
        assert done.returncode == 0, done.stderr
        assert records()[: len(before)] == before  # what was learned is not learned again
        stopped += "make bundle-gpu goes on" in done.stdout
        minutes *= 3  # (a busy machine may not get through the imports in the first pieces)
    assert stopped
    assert records() == list(range(1, steps + 1))

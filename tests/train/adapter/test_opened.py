"""A training that is opened by several processes: real ones, each with its share of the work."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

OPEN = """
import json, sys
from pathlib import Path
from facefact.config import load_config
from facefact.train.adapter import identity, opened
from facefact.train.settings import AdapterTraining

seen, real = [], identity.pair_batches


def watched(cache, **options):
    def batches_from(step):
        for one in real(cache, **options)(step):
            seen.append([float(row.sum()) for row in one["x"]])
            yield one

    return batches_from


identity.pair_batches = watched
config, out = load_config(AdapterTraining, Path(sys.argv[1])), Path(sys.argv[2])
inputs = opened.open_inputs(config)
opened.open_training(config, inputs, out)
(out / f"pairs-{inputs.process.process_index}.json").write_text(json.dumps(seen))
"""
CONFIG = """
recipe: adapter
schedule: {steps: 1, batch: 2, precision: fp32}
base: {source: "random:tiny"}
adapter:
  encoder: "random:tiny"
  resampler: {input_width: 32, width: 32, depth: 1, heads: 2, head_width: 16, queries: 4, output_width: 32}
  warm_up: {steps: 2, batch: 3, warmup: 1, precision: fp32, workers: 0, seed: 2}
data: {people: 12, looks: 3, size: 64, validation_people: 2}
"""


@pytest.mark.slow
def test_each_process_warms_the_resampler_up_with_pairs_of_its_own(tmp_path) -> None:
    """(Two processes that load everything.)"""
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    with socket.socket() as one:
        one.bind(("localhost", 0))
        port = one.getsockname()[1]
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(tmp_path / "tiny.yaml"), str(tmp_path)],
            text=True,
            stderr=subprocess.PIPE,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(sys.path), "RANK": str(rank), "LOCAL_RANK": str(rank)}
            | together,
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=300)[1] for process in processes]
    assert not any(process.returncode for process in processes), "\n".join(told)
    first, second = (json.loads((tmp_path / f"pairs-{rank}.json").read_text()) for rank in range(2))
    assert len(first) == len(second) == 2  # a batch a step
    for ours, theirs in zip(first, second, strict=True):
        assert len(ours) == len(theirs) == 6
        assert ours != theirs

"""Real processes: two that share a batch, and one that is killed again and again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import live
import pytest
import torch
from test_loop import records

from facefact.train.engine.checkpoints import Checkpoints
from facefact.train.engine.loop import fit
from facefact.train.engine.schedule import Schedule

HERE = Path(__file__).parent
PLAN = Schedule(steps=6, batch=4, lr=0.01, warmup=2, precision="fp32", seed=3, save_every=0.0)

START = """
import os, random, signal, sys, time
from dataclasses import replace
from itertools import count
from pathlib import Path
import torch
import live
from test_processes import PLAN
from facefact.train.engine.loop import fit
out = Path(sys.argv[1])
"""


def launch(program: str, out: Path, **environment: str) -> subprocess.Popen:
    paths = os.pathsep.join([str(HERE), *map(str, HERE.parents[:2]), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", START + program, str(out)],
        text=True,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | environment,
    )


def finished(*processes: subprocess.Popen) -> list[str]:
    """What they wrote to stderr."""
    try:
        told = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(process.returncode for process in processes), "\n".join(told)
    return told


# A process that has everything loaded makes children that train; each is killed some milliseconds after its second
# checkpoint, in the middle of whatever it does then.
KILLED = """
from facefact.train.engine.checkpoints import Checkpoints
kept = Checkpoints(out / "checkpoints")
for attempt in count():
    child, until = os.fork(), max([0, *kept.steps()]) + 2
    if child == 0:
        fit(live.LiveStage(), live.batches, PLAN, out)
        os._exit(0)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if until < PLAN.steps and max([0, *kept.steps()]) >= until:
            time.sleep(random.Random(attempt).uniform(0, 0.1))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.002)
    else:
        break
print(f"killed {attempt} times", file=sys.stderr)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
def test_killed_at_any_moment_the_same_command_makes_the_same_run(tmp_path) -> None:
    told = finished(launch(KILLED, tmp_path / "killed"))
    assert "killed 0 times" not in told[0]
    straight, resumed = live.LiveStage(), live.LiveStage()
    fit(straight, live.batches, PLAN, tmp_path / "straight")
    assert records(tmp_path / "killed") == records(tmp_path / "straight")  # bit for bit: no rounding hides a float32
    fit(resumed, live.batches, PLAN, tmp_path / "killed")
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


# Two processes, each with its half of every batch.
SHARED = """
from facefact.checkpoint import locked
from facefact.train.engine.checkpoints import Checkpoints
from facefact.train.engine.journal import Exploded
from facefact.types import UserError
rank = int(os.environ["RANK"])

def halves(index):
    for whole in live.batches(index):
        yield {name: value[2 * rank :][:2] for name, value in whole.items()}

plan = replace(PLAN, batch=2)
fit(live.LiveStage(), halves, plan, out / "run")

def until(index):  # the second process is told to stop while it makes the third batch
    for number, batch in enumerate(halves(index), start=index):
        if number == 2 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        yield batch

try:
    fit(live.LiveStage(), until, replace(plan, save_every=1e9), out / "stopped")
    sys.exit("a signal to one process stops all")
except SystemExit as error:
    assert error.code == 143, error.code
if rank == 0:  # (who writes it; the other one may be here earlier)
    assert Checkpoints(out / "stopped/checkpoints").steps() == [3]
stage = live.LiveStage()
fit(stage, halves, plan, out / "stopped")
if rank == 0:
    torch.save(stage.state_dict(), out / "weights.pt")

def poisoned(index):  # one process alone has the bad batch
    for number, batch in enumerate(halves(index), start=index):
        bad = number == 2 and rank == 1
        yield batch | {"latents": batch["latents"] * (float("nan") if bad else 1)}

try:
    fit(live.LiveStage(), poisoned, plan, out / "poisoned")
    sys.exit("all processes stop")
except Exploded as error:
    assert "step 3: the loss is nan" in str(error)
if rank == 0:
    assert Checkpoints(out / "poisoned/checkpoints").steps() == [2, 1]

(out / "run/checkpoints/step-6/state.json").write_text('{"format": 99}')
try:
    fit(live.LiveStage(), halves, plan, out / "run")
    sys.exit("all processes hear that the first one refuses")
except UserError as error:
    assert "another version" in str(error)
torch.distributed.destroy_process_group()
"""


def test_two_processes_are_one_with_twice_the_batch(tmp_path) -> None:
    """Also resumed, and after a signal to one of them; the noted loss is the mean over both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    tmp_path.joinpath("stopped").mkdir()
    pair = [
        launch(
            SHARED,
            tmp_path,
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE="2",
            LOCAL_WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=port,
            ACCELERATE_USE_CPU="true",
        )
        for rank in (0, 1)
    ]
    finished(*pair)
    alone = live.LiveStage()
    fit(alone, live.batches, PLAN, tmp_path / "alone")
    for one, two, stopped in zip(*(records(tmp_path / run) for run in ("alone", "run", "stopped")), strict=True):
        assert two == pytest.approx(one, rel=2e-4)
        assert stopped == two
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)
    for name, value in alone.state_dict().items():
        apart = (weights[name] - value).double().norm()
        assert apart <= 0.01 * value.double().norm() + 1e-3, name  # (Muon works in bf16)
    assert Checkpoints(tmp_path / "stopped/checkpoints").steps() == [6, 5]

"""Checkpoints are whole or not there, whatever happens to the process or the disk; one training to a folder."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from test_loop import Toy, batches, dying, records, schedule

from facefact.checkpoint import locked
from facefact.train.engine.checkpoints import AVERAGE, MODEL, OPTIMIZER, STATE, Checkpoints, Damaged, Snapshot
from facefact.train.engine.journal import Metrics
from facefact.train.engine.loop import fit
from facefact.types import UserError

resource = pytest.importorskip("resource", reason="limits and locks of POSIX")


def snapshot(step: int, size: int = 64) -> Snapshot:
    values = torch.arange(size, dtype=torch.float32) + step
    wide = values.view(1, 4, 4, -1).contiguous(memory_format=torch.channels_last)
    state = {"optimizers": [{"state": {0: {"momentum": values}}, "param_groups": [{"params": [0]}]}], "scaler": None}
    return Snapshot(step, {"a": wide, "n": torch.tensor(step)}, {"a": values / 2}, state, {"lr": 0.5})


class full_disk:
    """No file may grow beyond `size` bytes: the kernel refuses the write, as on a full disk."""

    def __init__(self, size: int):
        self.size = size

    def __enter__(self) -> None:
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *error: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


def test_a_checkpoint_comes_back_as_it_was(tmp_path) -> None:
    made, kept = snapshot(3), Checkpoints(tmp_path)
    directory = kept.save(made)
    assert {path.name for path in directory.iterdir()} == {MODEL, AVERAGE, OPTIMIZER, STATE}
    found = kept.read(3)
    assert (found.step, found.schedule) == (3, {"lr": 0.5})
    for a, b in ((made.model, found.model), (made.average, found.average)):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)
    momentum = found.optimizer["optimizers"][0]["state"][0]["momentum"]
    assert torch.equal(momentum, made.optimizer["optimizers"][0]["state"][0]["momentum"])


def test_only_the_newest_are_kept(tmp_path) -> None:
    kept = Checkpoints(tmp_path / "two", limit=2)
    for step in (2, 10, 9):
        kept.save(snapshot(step))
    assert kept.steps() == [10, 9]
    assert sorted(path.name for path in kept.folder.iterdir()) == ["step-10", "step-9"]
    everything = Checkpoints(tmp_path / "all", limit=0)
    for step in range(1, 5):
        everything.save(snapshot(step))
    assert everything.steps() == [4, 3, 2, 1]


@pytest.mark.parametrize("name", [MODEL, AVERAGE, OPTIMIZER, STATE])
@pytest.mark.parametrize("harm", ["cut", "gone", "empty"])
def test_of_damaged_ones_the_newest_whole_one_is_taken(tmp_path, name, harm) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(snapshot(1))
    file = kept.save(snapshot(2)) / name
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 if harm == "cut" else 0])
    with pytest.raises(Damaged):
        kept.read(2)
    step, told = kept.newest_whole()
    assert step == 1
    assert len(told) == 1
    assert "step-2 is damaged" in told[0]
    assert kept.steps() == [1]  # set aside, so that it neither is read again nor counts as one that is kept
    assert (tmp_path / "damaged-step-2").is_dir()


def test_no_training_starts_again_silently_where_all_are_damaged(tmp_path) -> None:
    kept = Checkpoints(tmp_path)
    assert kept.newest_whole() == (0, [])
    (kept.save(snapshot(1)) / STATE).write_text("{")
    with pytest.raises(UserError, match="no checkpoint in .* can be read"):
        kept.newest_whole()


def test_one_of_another_version_is_refused_and_left_alone(tmp_path) -> None:
    kept = Checkpoints(tmp_path)
    state = kept.save(snapshot(1)) / STATE
    state.write_text(json.dumps(json.loads(state.read_text()) | {"format": 99}))
    with pytest.raises(UserError, match="another version of facefact"):
        kept.newest_whole()
    assert kept.steps() == [1]


@pytest.mark.parametrize("size", [100, 2000])  # the first file, or the optimizer's, does not fit
def test_a_full_disk_leaves_the_checkpoints_as_they_were(tmp_path, size) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(snapshot(1))
    with full_disk(size), pytest.raises(OSError, match=r"."):
        kept.save(snapshot(2, size=256))
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert kept.newest_whole() == (1, [])


def test_a_full_disk_ends_no_training(tmp_path, capsys) -> None:
    straight, squeezed = Toy(), Toy()
    fit(straight, batches, schedule(), tmp_path / "straight")
    fit(Toy(), batches, schedule(steps=6), tmp_path / "run", stop=0.0)
    with full_disk(3000):
        assert fit(squeezed, batches, schedule(save_every=0.0), tmp_path / "run")
    told = capsys.readouterr().err
    assert "the checkpoint of step 2 could not be written" in told
    assert "make room on the disk" in told
    assert Checkpoints(tmp_path / "run/checkpoints").steps() == [1]
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), squeezed.parameters(), strict=True))
    again = Toy()
    assert fit(again, batches, schedule(), tmp_path / "run")
    assert records(tmp_path / "run") == records(tmp_path / "straight")
    assert Checkpoints(tmp_path / "run/checkpoints").steps() == [6, 1]


def test_records_wait_for_room_on_the_disk(tmp_path) -> None:
    metrics = Metrics(tmp_path)
    lines = [{"step": step, "loss": 1 / step} for step in range(1, 30)]
    metrics.write(lines[:2])
    with full_disk(200), pytest.raises(OSError, match="large"):
        metrics.write(lines[2:20])
    assert [line["step"] for line in metrics.records()] == [1, 2]  # and no half line after them
    assert metrics.path.read_bytes().endswith(b"\n")
    metrics.write(lines[20:])
    assert [line["step"] for line in metrics.records()] == list(range(1, 30))
    metrics.forget_after(7)
    assert [line["step"] for line in metrics.records()] == list(range(1, 8))


def test_the_text_of_a_loss_is_the_loss(tmp_path) -> None:
    values = torch.randn(200, generator=torch.Generator().manual_seed(1)) * 10.0 ** torch.arange(-10, 10).repeat(10)
    metrics = Metrics(tmp_path)
    metrics.write({"step": i, "loss": value, "other": float("nan")} for i, value in enumerate(values.tolist()))
    found = metrics.records()
    assert torch.equal(torch.tensor([line["loss"] for line in found]), values)
    assert found[0]["other"] is None  # JSON has no NaN


def test_a_run_goes_on_from_before_a_damaged_checkpoint(tmp_path, capsys) -> None:
    straight = Toy()
    fit(straight, batches, schedule(), tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        fit(Toy(), dying(batches, 4), schedule(save_every=0.0), tmp_path / "run")
    file = tmp_path / "run/checkpoints/step-4" / OPTIMIZER
    file.write_bytes(file.read_bytes()[:-100])
    leftover = tmp_path / "run/checkpoints/.step-5.partial"
    leftover.mkdir()
    resumed = Toy()
    assert fit(resumed, batches, schedule(), tmp_path / "run")
    assert "step-4 is damaged" in capsys.readouterr().err
    assert not leftover.exists()
    assert records(tmp_path / "run") == records(tmp_path / "straight")
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_ends_the_step_saves_and_stops(tmp_path, capsys, number, error) -> None:
    """The signal arrives while the third batch is made; that step still is done, and nothing is lost."""

    def signalled(step: int):
        for index, batch in enumerate(batches(step), start=step):
            if index == 2:
                os.kill(os.getpid(), number)
            yield batch

    before = signal.getsignal(number)
    with pytest.raises(error) as raised:
        fit(Toy(), signalled, schedule(save_every=1e9), tmp_path)
    if error is SystemExit:
        assert raised.value.code == 143
    assert signal.getsignal(number) == before
    assert "stopped after step 3, saved at step 3; the same command goes on" in capsys.readouterr().err
    assert Checkpoints(tmp_path / "checkpoints").steps() == [3]
    assert fit(Toy(), dying(batches, 6), schedule(), tmp_path)
    assert [one["step"] for one in records(tmp_path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_a_preempted_node_signals_the_workers_too_and_nothing_is_lost(tmp_path) -> None:
    def preempt(step, stage, average):
        if step == 3:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit):
        fit(Toy(), batches, schedule(save_every=1e9, workers=2), tmp_path, watch=preempt)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [3]
    assert multiprocessing.active_children() == []


def test_a_second_interrupt_stops_at_once(tmp_path) -> None:
    def impatient(step: int):
        for index, batch in enumerate(batches(step), start=step):
            if index == 2:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)
            yield batch

    with pytest.raises(KeyboardInterrupt):
        fit(Toy(), impatient, schedule(save_every=1e9), tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").steps() == []


HOLDER = """
import sys, time
from pathlib import Path
from facefact.checkpoint import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_belongs_to_one_training_until_it_dies(tmp_path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process works in"):
            fit(Toy(), dying(batches, 0), schedule(), tmp_path)
    finally:
        holder.kill()
        holder.communicate()
    with locked(tmp_path):
        pass

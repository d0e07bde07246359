"""One training loop for every part of the bundle: resumable, averaged, on one process or several (Accelerate).

A stage is a module whose forward takes a batch and returns named losses (the term "loss" is minimised), and a function
step -> batch. Nothing else is known here.

What the tests prove: one process, and DDP on CPU (two processes are one with twice the batch). FSDP2 and DeepSpeed's
ZeRO-1 and -2 are written after their documentation, with Accelerate's own checkpoints, and have not been run: they need
several GPUs.
"""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, send_to_device
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm

from facefact.device import training_device
from facefact.train.engine.checkpoints import Checkpoints
from facefact.train.engine.journal import Exploded, Guard, Metrics, Record
from facefact.train.engine.processes import (
    Signals,
    alone_in,
    any_of,
    new_accelerator,
    on_first,
    own_precision,
)
from facefact.train.engine.saving import TrainingState
from facefact.train.engine.schedule import Average, Schedule, learning_rate, optimizers, resolved

Batches = Callable[[int], Iterator[Any]]  # number of the first batch (a step's, unless it accumulates) -> from there
# (steps done, stage, averaged parameters by their names in the stage) -> figures for the trackers
Watch = Callable[[int, nn.Module, Mapping[str, Tensor]], "Mapping[str, float] | None"]

ALL_ATTENTION = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)


def seed_step(seed: int, index: int) -> None:
    """Make what forward pass `index` draws (noise, timesteps) a function of it alone, the same in all processes (see
    `rows`): a resumed run repeats an uninterrupted one."""
    torch.manual_seed(int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0] >> 1))


class _Ahead(IterableDataset):
    """Worker w of n makes the batches first + w, first + w + n, ...; a DataLoader takes them in turn."""

    def __init__(self, batches: Batches, first: int):
        self.batches, self.first = batches, first

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        assert worker is not None, "only a DataLoader with workers reads this"
        for number in (signal.SIGINT, signal.SIGTERM):  # sent to all: the training process finishes its step first
            signal.signal(number, signal.SIG_IGN)
        index, stride = self.first + worker.id, worker.num_workers
        while True:
            yield next(self.batches(index))
            index += stride


def loaded(batches: Batches, first: int, workers: int) -> Iterator[Any]:
    """The batches from number `first` on, the same ones for any number of workers."""
    if workers == 0:
        return batches(first)
    return iter(
        DataLoader(_Ahead(batches, first), batch_size=None, num_workers=workers, multiprocessing_context="fork")
    )


def attention_kernels(stage: nn.Module, device: torch.device) -> list[SDPBackend]:
    """On a CPU the fused attention's backward pass is slower than plain matrix products over few places; over the
    thousands of a full-size model (`stage.long_attention`) it takes a third of the time and keeps no n x n scores."""
    few_places = device.type == "cpu" and not getattr(stage, "long_attention", False)
    return [SDPBackend.MATH] if few_places else list(ALL_ATTENTION)


def fit(
    stage: nn.Module,
    batches: Batches,
    schedule: Schedule,
    folder: Path,
    *,
    stop: float | None = None,
    watch: Watch | None = None,
    trackers: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
) -> bool:
    """Train `stage` and leave the averaged weights in it; returns whether the schedule was finished.

    batches(first) -> iterator of batches from there (each a pure function of the seed and its number, so that a resumed
    run sees what an uninterrupted one would); a step takes `schedule.accumulate` of them. The same call with the same
    folder goes on where it stopped: on one process in fp32, bit for bit. stop: end after so many seconds, checkpoint
    saved. watch(steps done, stage, averaged parameters): called after every step, in all processes; what it returns
    goes to the trackers (names that Accelerate knows). config: settings for the trackers to keep.

    UserError: another training is in the folder, its checkpoint is of another network, or the loss exploded
    (`Exploded`; the last checkpoint is from before). Ctrl-C and SIGTERM: the step is finished and a checkpoint saved,
    then KeyboardInterrupt or SystemExit.
    """
    schedule.check()
    schedule = resolved(schedule, training_device())
    with own_precision(), Signals() as signals, contextlib.ExitStack() as held:
        accelerator = new_accelerator(schedule, folder, trackers)
        held.enter_context(alone_in(folder, accelerator))
        training = Training(stage, schedule, folder, accelerator)
        with training.open(config, deadline=math.inf if stop is None else time.monotonic() + stop):
            source = loaded(batches, training.step * schedule.accumulate, schedule.workers)
            ended = None
            while training.step < schedule.steps and ended is None:
                training.learn(source)
                training.read_losses(signals)
                if watch is not None:
                    training.track(watch(training.step, stage, training.average.values))
                ended = training.save_or_stop(signals)
            del source  # (its workers end here)
            training.leave_average()
    if ended == signal.SIGINT:
        raise KeyboardInterrupt
    if ended == signal.SIGTERM:
        raise SystemExit(128 + signal.SIGTERM)
    return training.step >= schedule.steps


class Training:
    """One call of `fit`: the phases of its loop, and what they share."""

    def __init__(self, stage: nn.Module, schedule: Schedule, folder: Path, accelerator: Accelerator):
        self.stage, self.schedule, self.folder, self.accelerator = stage, schedule, folder, accelerator
        self.device, self.main = accelerator.device, accelerator.is_main_process
        self.checkpoints = Checkpoints(folder / "checkpoints", schedule.checkpoints_total_limit)
        self.metrics, self.records = Metrics(folder), list[Record]()
        self.guard = Guard(schedule.explode, scaled=schedule.precision == "fp16")
        self.attention = attention_kernels(stage, self.device)
        self.read_every = 1 if self.device.type == "cpu" else schedule.log_every  # steps from one reading to the next
        self.step, self.waited, self.losses_read = 0, 0.0, False  # waited: seconds, for batches

    @contextlib.contextmanager
    def open(self, config: Mapping[str, Any] | None, *, deadline: float) -> Iterator[None]:
        """Everything ready for the first step, at the newest checkpoint; and everything let go at the end."""
        with contextlib.ExitStack() as last:
            last.callback(self.unwrap)
            self.prepare()
            self.resume()
            self.began = self.saved = time.monotonic()
            self.deadline = deadline
            last.callback(self.finish_trackers)
            self.accelerator.init_trackers("facefact", flat(config or {}))
            self.bar = last.enter_context(
                tqdm(
                    total=self.schedule.steps,
                    initial=self.step,
                    desc=self.folder.name,
                    unit="step",
                    disable=not self.main,
                    dynamic_ncols=True,
                    mininterval=0.5 if sys.stderr.isatty() else 30.0,
                )
            )
            yield

    def finish_trackers(self) -> None:
        """(Accelerate's end_training would end the process group too, which the next stage needs.)"""
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def unwrap(self) -> None:
        """Take off the stage what `prepare` put on it."""
        self.accelerator.free_memory()
        for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
            self.stage.__dict__.pop(name, None)

    def prepare(self) -> None:
        """Stage and optimizers on their device, wrapped as the launcher asks."""
        self.stage.train().to(self.device)
        used = optimizers(self.stage, self.schedule)
        # Each group's settings at the peak of the learning rate.
        self.peaks = [[{k: v for k, v in g.items() if k != "params"} for g in one.param_groups] for one in used]
        self.wrapped, *self.optimizers = self.accelerator.prepare(self.stage, *used)
        self.trainable = [p for p in self.stage.parameters() if p.requires_grad]  # (FSDP puts others in their place)
        self.average = Average(self.stage, self.schedule.ema, self.schedule.keep)
        self.state = TrainingState(
            self.stage, self.average, self.optimizers, self.accelerator, self.schedule, self.checkpoints
        )

    def resume(self) -> None:
        """Go to the newest whole checkpoint, if there is one, and forget what was noted after it."""

        def choose() -> int:
            self.checkpoints.clean()
            step, told = self.checkpoints.newest_whole(check=not self.state.sharded)
            for line in told:
                self.say(line)
            self.metrics.forget_after(step)
            return step

        self.step = on_first(self.accelerator, choose)
        if self.step:
            self.state.restore(self.step)
            for one, peak in zip(self.optimizers, self.peaks, strict=True):  # the settings are those of this command
                for group, options in zip(one.param_groups, peak, strict=True):
                    group.update(options)
        for record in self.metrics.records()[-100:]:
            self.guard.see(record)

    def learn(self, source: Iterator[Any]) -> None:
        """One step: the batches, forward and backward, the update and the average."""
        began, waited, schedule = time.monotonic(), 0.0, self.schedule
        factor = learning_rate(self.step, schedule)
        for one, peaks in zip(self.optimizers, self.peaks, strict=True):
            for group, peak in zip(one.param_groups, peaks, strict=True):
                group["lr"] = peak["lr"] * factor
        passes: list[dict[str, Tensor]] = []
        for index in range(self.step * schedule.accumulate, (self.step + 1) * schedule.accumulate):
            tick = time.monotonic()
            batch = send_to_device(next(source), self.device, non_blocking=True)
            waited += time.monotonic() - tick
            seed_step(schedule.seed, index)
            with self.accelerator.accumulate(self.wrapped), sdpa_kernel(self.attention):
                terms = self.wrapped(batch)
                self.accelerator.backward(terms["loss"])
            passes.append({name: term.detach() for name, term in terms.items()})
        norm = self.accelerator.clip_grad_norm_(self.trainable, schedule.clip)
        for one in self.optimizers:
            one.step()
            one.zero_grad()
        self.average.update(self.stage, self.step)
        self.step += 1
        means = {name: torch.stack([one[name] for one in passes]).mean() for name in passes[0]}
        self.waited += waited
        self.records.append(
            {
                "step": self.step,
                **means,
                **({} if norm is None else {"norm": norm}),
                "lr": schedule.lr * factor,
                "seconds": time.monotonic() - began,
                "data_wait": waited,
            }
        )
        self.bar.update()

    def read_losses(self, signals: Signals) -> None:
        """At times: read the losses (a GPU waits for that), write them down, and stop when they are no good."""
        save_steps = self.schedule.save_steps
        self.losses_read = (
            self.step % self.read_every == 0
            or self.step == self.schedule.steps
            or (save_steps is not None and self.step % save_steps == 0)
            or (self.accelerator.num_processes == 1 and signals.got is not None)
        )
        if not self.losses_read:
            return
        records, self.records = as_numbers(self.records, self.accelerator), []
        for index, record in enumerate(records):
            wrong = self.guard.see(record)
            if wrong:
                self.write(records[:index])
                raise Exploded(self.advice(record["step"], wrong))
        self.write(records)
        share = self.waited / max(1e-9, time.monotonic() - self.began)
        self.bar.set_postfix(loss=f"{records[-1]['loss']:.4f}", wait=f"{share:.1%}", refresh=False)

    def advice(self, step: int, wrong: str) -> str:
        kept = self.checkpoints.steps()
        good = f"the last good checkpoint is {self.checkpoints.directory(kept[0])}" if kept else "nothing was saved yet"
        return (
            f"step {step}: {wrong}; {good}. The same command goes on from there: give it a lower schedule.lr (now "
            f"{self.schedule.lr:g}) or clip, a longer warmup, or precision bf16 or fp32"
        )

    def write(self, records: list[Record]) -> None:
        if not self.main:
            return
        try:
            self.metrics.write(records)
        except OSError as error:
            self.say(f"{self.metrics.path} cannot be written ({error}); the training goes on")
        for record in records:
            self.accelerator.log({k: v for k, v in record.items() if k != "step"}, step=record["step"])

    def track(self, figures: Mapping[str, float] | None) -> None:
        if figures:
            self.accelerator.log(dict(figures), step=self.step)

    def save_or_stop(self, signals: Signals) -> int | None:
        """Save when it is time. Returns why the loop ends early: the signal, 0 for the deadline; None: it goes on."""
        if not self.losses_read:
            return None
        now, save_steps = time.monotonic(), self.schedule.save_steps
        due = now - self.saved > self.schedule.save_every or (save_steps is not None and self.step % save_steps == 0)
        wishes = [
            self.main and due,
            self.main and now > self.deadline,
            signals.got == signal.SIGINT,
            signals.got == signal.SIGTERM,
        ]
        due, late, interrupted, terminated = any_of(wishes, self.accelerator)
        ended = signal.SIGINT if interrupted else signal.SIGTERM if terminated else 0 if late else None
        finished = self.step == self.schedule.steps
        whole = False
        if (due or ended is not None) and self.guard.calm or finished:
            whole = self.save()
            self.saved = time.monotonic()
        if interrupted or terminated:
            kept = self.checkpoints.steps()
            where = f"saved at step {kept[0]}" if kept else "nothing saved"
            more = "" if whole else " (the newest state could not be saved)"
            self.say(f"{self.folder}: stopped after step {self.step}, {where}{more}; the same command goes on")
        return ended

    def save(self) -> bool:
        """A checkpoint of this step; returns whether it could be written. A full disk ends no training."""
        try:
            self.state.save(self.step)
        except OSError as error:
            if self.state.sharded:  # the other processes wait for this one
                raise
            self.say(
                f"the checkpoint of step {self.step} could not be written ({error}): make room on the disk of "
                f"{self.folder}; the one before it is kept and the training goes on"
            )
            return False
        return True

    def leave_average(self) -> None:
        """The averaged weights in the stage."""
        self.average.copy_to(self.stage)
        if self.accelerator.distributed_type == DistributedType.FSDP:  # whole again, in the first process
            whole = self.accelerator.get_state_dict(self.wrapped)
            if self.main:
                self.stage.load_state_dict(whole, strict=False, assign=True)
        self.stage.eval()

    def say(self, line: str) -> None:
        if self.main:
            tqdm.write(f"facefact: {line}", file=sys.stderr)


def as_numbers(records: list[Record], accelerator: Accelerator) -> list[Record]:
    """Records whose tensors are numbers, each the mean over the processes: one transfer and one message for all."""
    tensors = [value.float().reshape(()) for one in records for value in one.values() if torch.is_tensor(value)]
    numbers = iter(accelerator.reduce(torch.stack(tensors), "mean").tolist())
    return [{k: next(numbers) if torch.is_tensor(v) else v for k, v in one.items()} for one in records]


def flat(tree: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Dotted names and plain values: all that trackers take."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{where}{name}.")
        else:
            found[f"{where}{name}"] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return found

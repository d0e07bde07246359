"""One training loop for every part of the bundle: resumable, averaged, on one process or several (Accelerate).

A stage is a module whose forward takes a batch and returns named losses (the term "loss" is minimised), and a function
step -> batch. Nothing else is known here.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, send_to_device
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm

from facefact.train.muon import Muon
from facefact.types import UserError

Batches = Callable[[int], Iterator[Any]]  # first step -> the batches from there

ALL_ATTENTION = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    lr: of Muon; AdamW's is `adamw` times that, and that of an adapter's gates `gates` times AdamW's. warmup: steps.
    clip: of the gradient's norm. ema: the average's memory in steps as a share of the steps so far (0.1: about the last
    tenth). save_every: seconds between checkpoints. log_every: steps. workers: processes that make batches ahead (0:
    the training process itself does).
    """

    steps: int
    batch: int
    lr: float = 1e-3
    warmup: int = 100
    final_lr: float = 0.02
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.05
    precision: Literal["fp32", "bf16"] = "bf16"
    muon: bool = True
    adamw: float = 0.5
    gates: float = 5.0
    seed: int = 0
    save_every: float = 120.0
    log_every: int = 20
    workers: int = 0


def learning_rate(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then a cosine to `final_lr` of the peak; as a factor."""
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return schedule.final_lr + (1 - schedule.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def optimizers(stage: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the network, AdamW for everything else (embeddings, norms), faster for an adapter's
    gates: until they open, nothing behind them learns."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    gates: list[nn.Parameter] = []
    for name, parameter in stage.named_parameters():
        if parameter.requires_grad:
            hidden = parameter.ndim >= 2 and min(parameter.flatten(1).shape) >= 16 and "embed" not in name
            gate = name.rsplit(".", 1)[-1].startswith("alpha_")
            (gates if gate else matrices if hidden and schedule.muon else rest).append(parameter)
    found: list[torch.optim.Optimizer] = []
    if matrices:
        found.append(Muon(matrices, lr=schedule.lr, weight_decay=schedule.weight_decay))
    lr = schedule.lr * schedule.adamw
    groups = [{"params": rest, "lr": lr}, {"params": gates, "lr": lr * schedule.gates}]
    if rest or gates:
        found.append(
            torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.98), weight_decay=0.0)
        )
    return found


class Average:
    """Exponential moving average of the trainable parameters, its memory growing with the steps (Karras et al. 2024,
    EDM2, use the same idea: a constant share of the training's length)."""

    def __init__(self, stage: nn.Module, share: float):
        self.share = share
        self.values = {n: p.detach().clone() for n, p in stage.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, stage: nn.Module, step: int) -> None:
        weight = 1.0 / (1.0 + self.share * step)
        parameters = [(self.values[n], p) for n, p in stage.named_parameters() if p.requires_grad]
        torch._foreach_lerp_([a for a, _ in parameters], [p.detach() for _, p in parameters], weight)

    @torch.no_grad()
    def copy_to(self, stage: nn.Module) -> None:
        for name, parameter in stage.named_parameters():
            if name in self.values:
                parameter.copy_(self.values[name])


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make what a step draws (noise, timesteps) a function of the step alone: a resumed run repeats an uninterrupted
    one."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1))


class _Ahead(IterableDataset):
    """Worker w of n makes the batches of steps first + w, first + w + n, ...; a DataLoader takes them in turn."""

    def __init__(self, batches: Batches, first: int):
        self.batches, self.first = batches, first

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        assert worker is not None, "only a DataLoader with workers reads this"
        step, stride = self.first + worker.id, worker.num_workers
        while True:
            yield next(self.batches(step))
            step += stride


def loaded(batches: Batches, first: int, workers: int) -> Iterator[Any]:
    """The batches from step `first` on, the same ones for any number of workers."""
    if workers == 0:
        return batches(first)
    return iter(
        DataLoader(_Ahead(batches, first), batch_size=None, num_workers=workers, multiprocessing_context="fork")
    )


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write beside, then rename: a half-written checkpoint is never found."""
    temporary = path.with_suffix(".partial")
    torch.save(state, temporary)
    os.replace(temporary, path)


def log(folder: Path, record: dict[str, float]) -> None:
    with (folder / "metrics.jsonl").open("a") as out:
        out.write(json.dumps({k: round(v, 6) for k, v in record.items()}) + "\n")


def learned(stage: nn.Module) -> set[str]:
    """Names of what a checkpoint holds: the parameters that learn, and every buffer."""
    return {n for n, p in stage.named_parameters() if p.requires_grad} | {n for n, _ in stage.named_buffers()}


def restore(state_file: Path, stage: nn.Module, used: list[torch.optim.Optimizer], average: Average) -> int:
    """Put a checkpoint back; returns the step that comes next. UserError when it was made for another network."""
    device = next(stage.parameters()).device
    state = torch.load(state_file, map_location=device, weights_only=True)
    wrong = UserError(f"{state_file} was made for another network or other settings; give another folder or remove it")
    try:
        missing, unexpected = stage.load_state_dict(state["stage"], strict=False)
        for one, saved in zip(used, state["optimizers"], strict=True):
            one.load_state_dict(saved)
    except (RuntimeError, ValueError) as error:
        raise wrong from error
    if unexpected or set(missing) & set(average.values) or state["average"].keys() != average.values.keys():
        raise wrong
    average.values = state["average"]
    return int(state["step"])


def fit(stage: nn.Module, batches: Batches, schedule: Schedule, folder: Path, *, stop: float | None = None) -> bool:
    """Train `stage` and leave the averaged weights in it; returns whether the schedule was finished.

    batches(first step) -> iterator of batches from there (each a pure function of the seed and the step, so that a
    resumed run sees what an uninterrupted one would). The same call with the same folder goes on where it stopped: on
    one process in fp32, bit for bit. stop: end after so many seconds, checkpoint saved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")  # (autocast is below)
    device, rank, main = accelerator.device, accelerator.process_index, accelerator.is_main_process
    stage.train().to(device)
    used = optimizers(stage, schedule)
    peaks = [[group["lr"] for group in one.param_groups] for one in used]
    average, step, state_file = Average(stage, schedule.ema), 0, folder / "state.pt"
    if state_file.exists():
        step = restore(state_file, stage, used, average)
    wrapped, *prepared = accelerator.prepare(stage, *used)
    trainable = [p for p in stage.parameters() if p.requires_grad]
    kept = learned(stage)

    def checkpoint() -> None:
        if main:
            weights = {n: v for n, v in stage.state_dict().items() if n in kept}
            moments = [one.state_dict() for one in used]
            state = {"stage": weights, "average": average.values, "optimizers": moments, "step": step}
            save_state(state_file, state | {"schedule": asdict(schedule)})

    def over() -> bool:
        """Whether to stop early; all processes hear the first one's answer, for none may go on alone."""
        if stop is None:
            return False
        return bool(broadcast(torch.tensor(float(time.monotonic() - began > stop), device=device)))

    # On a CPU the fused attention's backward pass is slower than plain matrix products at these sizes.
    attention = [SDPBackend.MATH] if device.type == "cpu" else list(ALL_ATTENTION)
    half = torch.autocast(device.type, torch.bfloat16, enabled=schedule.precision == "bf16")
    began = saved = time.monotonic()
    source, first = loaded(batches, step, schedule.workers), step
    bar = tqdm(total=schedule.steps, initial=step, desc=folder.name, unit="step", disable=not main, dynamic_ncols=True,
               mininterval=0.5 if sys.stderr.isatty() else 30.0)  # fmt: skip
    while step < schedule.steps and not over():
        tick = time.monotonic()
        batch = send_to_device(next(source), device, non_blocking=True)
        wait = time.monotonic() - tick
        for one, of_groups in zip(used, peaks, strict=True):
            for group, peak in zip(one.param_groups, of_groups, strict=True):
                group["lr"] = peak * learning_rate(step, schedule)
        seed_step(schedule.seed, step, rank)
        with sdpa_kernel(attention):
            with half:
                terms = wrapped(batch)
            accelerator.backward(terms["loss"])
        norm = accelerator.clip_grad_norm_(trainable, schedule.clip)
        if not torch.isfinite(norm):
            raise RuntimeError(
                f"step {step}: the loss is {float(terms['loss'])}; the last good state is in {state_file}"
            )
        for one in prepared:
            one.step()
            one.zero_grad()
        average.update(stage, step)
        step += 1
        bar.update()
        if main and step % schedule.log_every == 0:
            record = {"step": step, **{k: float(v.detach()) for k, v in terms.items()}, "norm": float(norm)}
            timing = {"wait": wait, "seconds": time.monotonic() - tick}
            log(folder, record | {"lr": schedule.lr * learning_rate(step, schedule)} | timing)
            bar.set_postfix(loss=f"{record['loss']:.4f}", refresh=False)
        if time.monotonic() - saved > schedule.save_every:
            checkpoint()
            saved = time.monotonic()
    bar.close()
    if step > first:
        checkpoint()
    accelerator.free_memory()
    average.copy_to(stage)
    stage.eval()
    return step >= schedule.steps

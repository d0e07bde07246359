"""One training loop for every part of the bundle: resumable, averaged, on one process or several (Accelerate).

A stage is a module whose forward takes a batch and returns named losses (the term "loss" is minimised), and a function
step -> batch. Nothing else is known here.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from facefact.train.muon import Muon

ALL_ATTENTION = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. lr: of Muon; AdamW's is `adamw` times that. ema: the average's memory in steps as a
    share of the steps so far (0.1: about the last tenth). save_every: seconds between checkpoints."""

    steps: int
    batch: int
    lr: float = 1e-3
    warmup: int = 100
    final_lr: float = 0.02
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.05
    precision: str = "bf16"
    muon: bool = True
    adamw: float = 0.5
    seed: int = 0
    save_every: float = 120.0
    log_every: int = 20


def learning_rate(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then a cosine to `final_lr` of the peak; as a factor."""
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return schedule.final_lr + (1 - schedule.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def optimizers(stage: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the network, AdamW for everything else (embeddings, convolutions, norms, gates)."""
    matrices, rest = [], []
    for name, parameter in stage.named_parameters():
        if parameter.requires_grad:
            hidden = parameter.ndim >= 2 and min(parameter.flatten(1).shape) >= 16 and "embed" not in name
            (matrices if hidden and schedule.muon else rest).append(parameter)
    found: list[torch.optim.Optimizer] = []
    if matrices:
        found.append(Muon(matrices, lr=schedule.lr, weight_decay=schedule.weight_decay))
    if rest:
        found.append(torch.optim.AdamW(rest, lr=schedule.lr * schedule.adamw, betas=(0.9, 0.98), weight_decay=0.0))
    return found


class Average:
    """Exponential moving average of the trainable parameters, its memory growing with the steps (Karras et al. 2024, EDM2, use
    the same idea: a constant share of the training's length)."""

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


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write beside, then rename: a half-written checkpoint is never found."""
    temporary = path.with_suffix(".partial")
    torch.save(state, temporary)
    os.replace(temporary, path)


def log(folder: Path, record: dict[str, float]) -> None:
    with (folder / "metrics.jsonl").open("a") as out:
        out.write(json.dumps({k: round(v, 6) for k, v in record.items()}) + "\n")


def fit(
    stage: nn.Module, batches: Callable[[int], Iterator[Any]], schedule: Schedule, folder: Path, *, stop: float | None = None
) -> bool:
    """Train `stage` and leave the averaged weights in it; returns whether the schedule was finished.

    batches(first step) -> iterator of batches from there (each a pure function of the seed and the step, so that a resumed
    run sees what an uninterrupted one would). The same call with the same folder goes on where it stopped. stop: end
    after so many seconds, checkpoint saved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision={"fp32": "no"}.get(schedule.precision, schedule.precision))
    torch.manual_seed(schedule.seed + accelerator.process_index)
    stage.train().to(accelerator.device)
    used = optimizers(stage, schedule)
    average, step, state_file = Average(stage, schedule.ema), 0, folder / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, map_location=accelerator.device, weights_only=True)
        missing, unexpected = stage.load_state_dict(state["stage"], strict=False)
        frozen = {n for n, p in stage.named_parameters() if not p.requires_grad} | {n for n, _ in stage.named_buffers()}
        if unexpected or set(missing) - frozen:
            raise RuntimeError(f"{state_file} was made for another network: {(unexpected + missing)[:3]}; use another folder")
        for one, saved in zip(used, state["optimizers"], strict=True):
            one.load_state_dict(saved)
        average.values, step = state["average"], state["step"]
        torch.manual_seed(schedule.seed + 7919 * step + accelerator.process_index)
    wrapped, *used = accelerator.prepare(stage, *used)
    trainable = [p for p in stage.parameters() if p.requires_grad]
    kept = {n for n, p in stage.named_parameters() if p.requires_grad} | {n for n, _ in stage.named_buffers()}

    def checkpoint() -> None:
        if accelerator.is_main_process:
            state = {"stage": {n: v for n, v in stage.state_dict().items() if n in kept}, "average": average.values,
                     "optimizers": [one.optimizer.state_dict() for one in used], "step": step, "schedule": asdict(schedule)}  # fmt: skip
            save_state(state_file, state)

    # On a CPU the fused attention's backward pass is slower than plain matrix products at these sizes.
    attention = [SDPBackend.MATH] if accelerator.device.type == "cpu" else list(ALL_ATTENTION)
    began = saved = time.monotonic()
    source = batches(step)
    while step < schedule.steps and not (stop and time.monotonic() - began > stop):
        tick = time.monotonic()
        batch = next(source)
        wait = time.monotonic() - tick
        for one in used:
            for group in one.param_groups:
                group["lr"] = group.setdefault("peak", group["lr"]) * learning_rate(step, schedule)
        with sdpa_kernel(attention):
            terms = wrapped(batch)
            accelerator.backward(terms["loss"])
        norm = accelerator.clip_grad_norm_(trainable, schedule.clip)
        if not torch.isfinite(norm):
            raise RuntimeError(f"step {step}: the loss is {float(terms['loss'])}; the last good state is in {state_file}")
        for one in used:
            one.step()
            one.zero_grad()
        average.update(stage, step)
        step += 1
        if accelerator.is_main_process and step % schedule.log_every == 0:
            record = {"step": step, **{k: float(v.detach()) for k, v in terms.items()}, "norm": float(norm), "wait": wait,
                      "lr": schedule.lr * learning_rate(step, schedule), "seconds": time.monotonic() - tick}  # fmt: skip
            log(folder, record)
        if time.monotonic() - saved > schedule.save_every:
            checkpoint()
            saved = time.monotonic()
    checkpoint()
    average.copy_to(stage)
    stage.eval()
    return step >= schedule.steps

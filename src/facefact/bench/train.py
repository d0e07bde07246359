"""`facefact bench train`: what a training step costs, as ratios within one run.

    ours          a step of the trainer, all of it: the batch out of the cache, noise, forward pass with recording and
                  FAIR, backward pass, clipping, optimizer, average of the weights, guard and metrics.jsonl
    bare          forward and backward pass through the same U-Net and adapter, every tensor ready, mean squared error
    bare_step     the same, and the optimizer's step
    bare_fair     `bare` with recording and FAIR
    diffusers     the loop of diffusers' training scripts: pictures through the autoencoder, captions through the text
                  models, faces through the face encoder in every step, then forward, backward, clipping, optimizer.
                  (In its favour: pictures are decoded, aligned and tokenized already; it has no FAIR and no average.)

Ratios: ours / bare, ours / bare_step, diffusers / ours, and FAIR's share, 1 - bare / bare_fair: each the median over
the rounds of the quotient within a round. All variants share the weights, arithmetic (autocast, attention kernels),
batch size and optimizer; each step waits for the device, which takes from ours what it gains by not waiting
(`log_every`).
Checkpoints and validations are not part of a step; a checkpoint is timed apart.

Peak memory: a fresh process for each of ours, bare_step and diffusers, which opens all that a training opens: the
greatest resident set (CPU), or what the GPU allocated.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import sdpa_kernel

from facefact.adapter import Increment
from facefact.bench.memory import MIB, peak_resident
from facefact.bench.timing import Times, interleaved, machine, ratio, seconds_of, spread, timed
from facefact.device import training_device
from facefact.metrics.views import to_pixels
from facefact.train.adapter.face_tokens import face_tokens
from facefact.train.adapter.opened import Opened, open_inputs, open_training
from facefact.train.engine.loop import Training, attention_kernels, loaded
from facefact.train.engine.processes import Signals, new_accelerator, own_precision
from facefact.train.engine.schedule import optimizers, resolved
from facefact.train.losses.fair import fair
from facefact.train.losses.noise import noised, spread_timesteps
from facefact.train.material.encode import encode_faces, encode_ids, encode_pictures, token_ids
from facefact.train.settings import AdapterTraining, tree_of
from facefact.types import UserError

MEASURED_IN_A_PROCESS = ("ours", "bare_step", "diffusers")
# The embedded model as configs/world.yaml trains it; data.people and looks only as many as batches need.
DEFAULT = (
    "schedule.steps=1",
    "schedule.batch=32",
    "adapter.resampler={input_width: 160, width: 128, depth: 2, heads: 4, head_width: 32, output_width: 160}",
    "data.people=16",
    "data.looks=4",
    "data.validation_people=0",
)


def for_measuring(config: AdapterTraining) -> AdapterTraining:
    """The same work without its effect: a rate at which nothing is learned, one pass a step, no end in sight. The gates
    stand open, for the numbers behind closed ones are zeros, and FAIR and shuffle are at their last values."""
    config.check()
    if config.loss.identity != 0.0:
        raise UserError("the benchmark knows no identity loss: set loss.identity=0")
    schedule = replace(
        config.schedule,
        steps=10**9,
        lr=1e-7,
        warmup=0,
        decay="constant",
        accumulate=1,
        save_every=1e9,
        save_steps=None,
        explode=None,
        log_every=1,
    )
    adapter = replace(config.adapter, gate=0.1, warm_up=None)
    last = config.loss.fair if isinstance(config.loss.fair, (int, float)) else config.loss.fair[-1][1]
    loss = replace(config.loss, fair=last)
    changed = replace(config, schedule=schedule, adapter=adapter, loss=loss, trackers=())
    return resolved(changed, training_device())


def opened_for_measuring(config: AdapterTraining, folder: Path) -> Opened:
    """As a training is opened, on its device; the cache is filled where it lacks something."""
    opened = open_training(config, open_inputs(config), folder)
    opened.stage.to(opened.device).train()
    return opened


# The variants


class Plain:
    """Loops without a trainer."""

    def __init__(self, opened: Opened) -> None:
        self.opened, self.stage, schedule = opened, opened.stage, opened.config.schedule
        self.optimizers = optimizers(opened.stage, schedule)
        self.trainable = [p for p in opened.stage.parameters() if p.requires_grad]
        self.dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[schedule.precision]
        self.attention = attention_kernels(opened.stage, opened.device)
        self.batch = to_device(next(opened.batches(schedule.batch)(0)), opened.device)
        if "text" not in self.batch:
            text, pooled = encode_ids(opened.frozen, self.batch["ids"])
            self.batch |= {"text": text.float()} | ({} if pooled is None else {"pooled": pooled.float()})
        self.timesteps = spread_timesteps(schedule.batch, opened.device)
        self.sample, self.target = noised(opened.frozen.scheduler, self.batch["latents"], self.timesteps)
        self.raw = raw_pictures(opened, schedule.batch)

    @contextlib.contextmanager
    def arithmetic(self) -> Iterator[None]:
        cast = torch.autocast(self.opened.device.type, self.dtype, enabled=self.dtype is not None)
        live, self.stage.text_encoder = self.stage.text_encoder, None  # (its states are ready)
        try:
            with cast, sdpa_kernel(self.attention):
                yield
        finally:
            self.stage.text_encoder = live

    def backward(
        self, batch: dict[str, Tensor], sample: Tensor, target: Tensor, timesteps: Tensor, *, with_fair: bool
    ) -> None:
        stage = self.stage
        without: contextlib.AbstractContextManager[list[Increment]] = contextlib.nullcontext([])
        with self.arithmetic():
            tokens = face_tokens(stage.adapter, batch["tokens"], batch["face_dropped"])
            condition = stage.adapter.condition(tokens, guidance=False)
            with stage.adapter.record() if with_fair else without as increments:
                predicted = stage.predict(sample, timesteps, batch, condition)
            loss = F.mse_loss(predicted, target)
            if with_fair:
                loss = loss + 0.01 * fair(increments, batch["face"], stage.config.increment)
        loss.backward()  # not under autocast, which would cast again what the forward pass has cast; as every trainer

    def update(self, *, clip: float | None = None) -> None:
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(self.trainable, clip)
        for one in self.optimizers:
            one.step()
        self.forget()

    def forget(self) -> None:
        for parameter in self.trainable:
            parameter.grad = None

    def bare(self, *, with_fair: bool = False) -> None:
        self.backward(self.batch, self.sample, self.target, self.timesteps, with_fair=with_fair)
        self.forget()

    def bare_step(self) -> None:
        self.backward(self.batch, self.sample, self.target, self.timesteps, with_fair=False)
        self.update()

    def diffusers(self) -> None:
        frozen, raw = self.opened.frozen, self.raw
        latents = encode_pictures(frozen, raw["pixels"])
        text, pooled = encode_ids(frozen, raw["ids"])
        batch = self.batch | {"text": text, "tokens": encode_faces(frozen, raw["heads"])[:, None]}
        if pooled is not None:
            batch["pooled"] = pooled
        timesteps = spread_timesteps(len(latents), latents.device)
        sample, target = noised(frozen.scheduler, latents, timesteps)
        self.backward(batch, sample, target, timesteps, with_fair=False)
        self.update(clip=self.opened.config.schedule.clip)


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in batch.items()}


def raw_pictures(opened: Opened, n: int) -> dict[str, Tensor]:
    """n samples before anything frozen has seen them, on the device: pixels, aligned heads, token ids."""
    size, cache = opened.material.largest, opened.material.learn[opened.material.largest]
    numbers = {key: i for i, key in enumerate(opened.inputs.source.keys())}
    samples = [opened.inputs.source.sample(numbers[cache.keys[i % len(cache)]], size) for i in range(n)]
    made = {
        "pixels": torch.stack([to_pixels(one.image) for one in samples if one]),
        "heads": torch.stack([to_pixels(one.head) for one in samples if one]),
        "ids": token_ids(opened.frozen, [one.caption for one in samples if one]),
    }
    return to_device(made, opened.device)


class Ours:
    """The trainer's own loop, a step at a time."""

    def __init__(self, opened: Opened, folder: Path) -> None:
        self.opened, self.held, self.waits = opened, contextlib.ExitStack(), list[float]()
        self.sources: dict[int, Iterator[Any]] = {}
        self.folder = folder

    def __enter__(self) -> Ours:
        schedule = self.opened.config.schedule
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:
            held.enter_context(own_precision())
            self.signals = held.enter_context(Signals())
            self.training = Training(self.opened.stage, schedule, self.folder, new_accelerator(schedule, self.folder))
            with contextlib.redirect_stderr(io.StringIO()):  # (its bar)
                held.enter_context(self.training.open(None, deadline=float("inf")))
            self.held = held.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self.sources.clear()  # (ends its workers)
        self.held.close()

    def step(self, *, batch: int | None = None) -> None:
        schedule = self.opened.config.schedule
        size = batch or schedule.batch
        if size not in self.sources:
            self.sources[size] = loaded(self.opened.batches(size), 0, schedule.workers)
        before, began = self.training.waited, time.monotonic()
        self.training.learn(self.sources[size])
        self.training.read_losses(self.signals)
        self.waits.append((self.training.waited - before) / (time.monotonic() - began))

    def with_unet(self, other: Any) -> None:
        """A step through another form of the U-Net (compiled)."""
        before, self.opened.stage.unet = self.opened.stage.unet, other
        try:
            self.step()
        finally:
            self.opened.stage.unet = before

    def checkpointing(self, *, on: bool) -> None:
        """A step with gradient checkpointing on or off, whatever the settings say."""
        unet: Any = self.opened.stage.unet
        (unet.enable_gradient_checkpointing if on else unet.disable_gradient_checkpointing)()
        try:
            self.step()
        finally:
            if self.opened.config.base.gradient_checkpointing:
                unet.enable_gradient_checkpointing()
            else:
                unet.disable_gradient_checkpointing()


# Memory


def peak_of(variant: str, config: AdapterTraining, folder: Path) -> float:
    """MiB that this process needed at most for three steps of a variant ("nothing": only to fill the cache)."""
    opened = opened_for_measuring(config, folder)
    if opened.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    if variant == "ours":
        with Ours(opened, folder / "peak") as ours:
            repeat(ours.step, 3)
    elif variant != "nothing":
        repeat(getattr(Plain(opened), variant), 3)
    return (torch.cuda.max_memory_allocated() if opened.device.type == "cuda" else peak_resident()) / MIB


def repeat(work: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        work()


def peaks(config: AdapterTraining, folder: Path, variants: Sequence[str] = MEASURED_IN_A_PROCESS) -> dict[str, float]:
    """MiB by variant, each in a process of its own, one after the other; the cache is filled before."""
    found: dict[str, float] = {}
    for variant in ("nothing", *variants):
        with get_context("spawn").Pool(1) as pool:
            found[variant] = pool.apply(peak_of, (variant, config, folder))
    del found["nothing"]
    return found


# All of it


def bench_train(
    config: AdapterTraining,
    *,
    rounds: int = 12,
    batches: Sequence[int] = (),
    compiled: bool = False,
    memory: bool = True,
    progress: Callable[[], Any] | None = None,
) -> dict[str, Any]:
    """The figures; see the top of this file. rounds: measured steps of each variant. batches: other batch sizes.
    compiled: `torch.compile` too, whose first step takes minutes. progress: called after each round."""
    config = for_measuring(config)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        peak = peaks(config, folder) if memory else {}
        opened = opened_for_measuring(config, folder)
        plain = Plain(opened)
        with Ours(opened, folder / "run") as ours:
            variants = variants_of(ours, plain, batches, compiled=compiled)
            times = interleaved(variants, rounds=rounds, device=opened.device, progress=progress)
            checkpoint = timed(ours.training.save, opened.device)[0]
        opened.stage.adapter.detach()
    return report(config, times, peak, waits=ours.waits, checkpoint=checkpoint, device=opened.device)


def variants_of(ours: Ours, plain: Plain, batches: Sequence[int], *, compiled: bool) -> dict[str, Callable[[], Any]]:
    on = ours.opened.config.base.gradient_checkpointing
    variants: dict[str, Callable[[], Any]] = {
        "ours": ours.step,
        "bare": plain.bare,
        "bare_step": plain.bare_step,
        "bare_fair": partial(plain.bare, with_fair=True),
        "diffusers": plain.diffusers,
        f"checkpointing_{'off' if on else 'on'}": partial(ours.checkpointing, on=not on),
    }
    if compiled:
        variants["compiled"] = partial(ours.with_unet, torch.compile(ours.opened.stage.unet))
    return variants | {f"batch_{n}": partial(ours.step, batch=n) for n in batches}


def report(
    config: AdapterTraining,
    times: Times,
    peak: dict[str, float],
    *,
    waits: Sequence[float],
    checkpoint: float,
    device: torch.device,
) -> dict[str, Any]:
    """The measured times as figures."""
    share = 1 - times["bare"] / times["bare_fair"]
    rates = {"ours": config.schedule.batch} | {n: int(n.split("_")[1]) for n in times if n.startswith("batch_")}
    return {
        "machine": machine()
        | {"device kind": device.type, "base dtype": config.base.dtype, "precision": config.schedule.precision},
        "rounds": len(times["ours"]),
        "batch": config.schedule.batch,
        "size": max(size for _, size in config.data.sizes()),
        "seconds_per_step": {name: seconds_of(one) for name, one in times.items()},
        "ratios": {
            "ours / bare": ratio(times["ours"], times["bare"]),
            "ours / bare_step": ratio(times["ours"], times["bare_step"]),
            "diffusers / ours": ratio(times["diffusers"], times["ours"]),
        }
        | {
            f"{name} / ours": ratio(one, times["ours"])
            for name, one in times.items()
            if name.startswith(("checkpointing", "compiled"))
        },
        "fair_share": {"wall": spread(share[:, 0]), "cpu": spread(share[:, 1])},
        "data_wait_share": spread(np.array(waits)),
        "samples_per_second": {
            str(n): {"wall": n / float(np.median(times[name][:, 0])), "cpu": n / float(np.median(times[name][:, 1]))}
            for name, n in sorted(rates.items(), key=lambda pair: pair[1])
        },
        "peak_mib": peak,
        "checkpoint_seconds": checkpoint,
        "settings": tree_of(config),
    }

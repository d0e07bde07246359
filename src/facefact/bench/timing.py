"""Timing of variants of one piece of work, side by side in one run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from facefact.device import multiplies_natively
from facefact.train.report.page import processor, read_environment

Work = Callable[[], Any]
Times = dict[str, np.ndarray]  # variant -> (rounds, 2) seconds: wall, CPU


def timed(work: Work, device: torch.device) -> tuple[float, float]:
    """Seconds of one call: wall clock (CUDA: between two events, which waits for the work), and CPU time of this
    process and its threads, which hardly feels what else the machine does. (The CUDA branch has not been run.)"""
    cpu = time.process_time()
    if device.type == "cuda":
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        work()
        after.record()
        torch.cuda.synchronize(device)
        return before.elapsed_time(after) / 1000, time.process_time() - cpu
    wall = time.perf_counter()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def interleaved(
    variants: Mapping[str, Work],
    *,
    rounds: int,
    device: torch.device,
    progress: Work | None = None,
    around: Callable[[str], AbstractContextManager[Any]] = lambda name: nullcontext(),
) -> Times:
    """Each variant once a round, in an order that turns with the rounds, so that none always has the better moment; one
    more round before them counts nothing. around: what each variant's call is made inside, itself not timed."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    names = list(variants)
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            with around(name):
                seconds = timed(variants[name], device)
            if number:
                found[name].append(seconds)
        if progress is not None:
            progress()
    return {name: np.array(rows) for name, rows in found.items()}


def spread(values: np.ndarray) -> dict[str, float]:
    """(n,) -> median and quartiles."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return {"median": float(median), "low": float(low), "high": float(high)}


def seconds_of(times: np.ndarray) -> dict[str, Any]:
    """(rounds, 2) -> {"wall": spread, "cpu": spread, "n": rounds}."""
    return {"wall": spread(times[:, 0]), "cpu": spread(times[:, 1]), "n": len(times)}


def ratio(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """(rounds, 2) wall and CPU seconds, twice -> the spread of a / b within each round: what slows the machine for a
    while slows both."""
    return {"wall": spread(a[:, 0] / b[:, 0]), "cpu": spread(a[:, 1] / b[:, 1]), "n": len(a)}


def machine() -> dict[str, Any]:
    """What it ran on: model of the device, cores that the process may use, threads, load, versions; and how its
    processor multiplies: vector instructions that PyTorch uses, whether bf16 is native, what oneDNN is limited to."""
    load = {"load": round(os.getloadavg()[0], 2)} if hasattr(os, "getloadavg") else {}
    return (
        read_environment()
        | {"threads": torch.get_num_threads(), **load}
        | {
            "processor": processor(),
            "processor instructions": torch.backends.cpu.get_cpu_capability(),
            "processor bf16": "native" if multiplies_natively(torch.device("cpu"), torch.bfloat16) else "emulated",
            "oneDNN limit": os.environ.get("ONEDNN_MAX_CPU_ISA", "none"),
        }
    )

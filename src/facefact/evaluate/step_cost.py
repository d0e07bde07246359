"""What a training's losses cost: forward and backward pass of one batch under each, in turn, so that all of them meet
the same machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import sdpa_kernel

from facefact.metrics.scores import Figure, figure
from facefact.train.adapter.fact import FactStage
from facefact.train.engine.loop import attention_kernels
from facefact.train.settings import Loss


def step_costs(
    stage: FactStage, batch: Mapping[str, Tensor], losses: Mapping[str, Loss], *, rounds: int
) -> dict[str, list[float]]:
    """By name (rounds,) seconds of a forward and backward pass under these settings of the loss; a first round, which
    is not counted, warms up. On a CPU seconds of the process's time (what else the machine does costs nothing), on a
    GPU of the clock. batch: on the stage's device, of the step whose curves count; the stage's own settings are as
    before afterwards."""
    kept = stage.config
    try:
        table = [{name: _seconds(stage, batch, loss) for name, loss in losses.items()} for _ in range(rounds + 1)]
    finally:
        stage.config = kept
    return {name: [row[name] for row in table[1:]] for name in losses}


def _seconds(stage: FactStage, batch: Mapping[str, Tensor], loss: Loss) -> float:
    device = batch["latents"].device
    stage.config = loss
    torch.manual_seed(0)
    began = _now(device)
    with sdpa_kernel(attention_kernels(stage, device)):
        stage(dict(batch))["loss"].backward()
    taken = _now(device) - began
    stage.zero_grad(set_to_none=True)
    return taken


def _now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def cost_figures(seconds: Mapping[str, list[float]], reference: str) -> dict[str, dict[str, Any]]:
    """By name: the median of the seconds, and with the reference among them `ratio`, that of the means, round by
    round."""
    found: dict[str, dict[str, Any]] = {name: {"seconds": float(np.median(taken))} for name, taken in seconds.items()}
    for name, taken in seconds.items():
        if reference in seconds:
            ratio: Figure = figure(np.array(taken), over=np.array(seconds[reference]))
            found[name]["ratio"] = ratio.as_json()
    return found

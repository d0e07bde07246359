"""Why closed gates stay closed under FAIR: what pulls at a gate when the adapter is the identity.

FAIR is a norm of what a layer adds, and what it adds is tanh(alpha) times something: near alpha = 0 FAIR is
c |alpha| with c > 0, an L1 penalty on the gate, whose slope does not fade as the gate closes. The diffusion loss is
smooth there: its slope g is a number that may have either sign and differs from batch to batch. A gate at 0 leaves it
only while |g| > lambda c, so that

    lambda* = |mean g| / c

is the lambda above which a closed gate cannot open (on average; mean |g| / c for a single batch). And since everything
behind a closed gate has no gradient either, the layer does not learn a better direction in the meantime.

Measured on the embedded model (8 batches of 16 pictures, 64 rendered people, 14 gates, increment "whole", resampler
warmed up): c is 0.009 to 0.029 at every gate; the diffusion loss's slope is -4e-4 to 3e-4 with a spread over batches of
4e-5 to 1.2e-3. lambda* has the median 0.0034 and the largest value 0.018: lambda = 0.03 holds all 14 gates on average,
0.01 holds 12; in a single batch's pull 0.1 holds all 14, 0.01 still 7. Those lambda* are rather too high: the median
|mean| / std of 0.30 is what slopes without any mean would show over 8 batches (0.28), and only 2 means are above two
standard errors, where chance gives about 1. So before the first step these pictures show nothing that asks a gate to
open, and FAIR's pull, the same in every batch, wins at any usual lambda. (What a gate does after it has left 0 is not
measured here: the arms of the ablation say.)

At exactly 0 the code's gradient of FAIR is 0 (a small constant under the root): c is measured at alpha = STEP and, in
every second batch, at -STEP.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facefact.train.adapter.fact import FactStage
from facefact.train.adapter.leak_meter import short_names
from facefact.train.engine.loop import Batches

STEP = 1e-3  # where c is measured: far above the constant under the root, far below a gate that is open
GATES = ("attn", "dense")
LAMBDAS = (0.01, 0.03, 0.1, 0.3)


def gate_pull(stage: FactStage, batches: Batches, *, count: int = 8, seed: int = 0) -> dict[str, Any]:
    """What pulls at each gate over `count` batches, as JSON values. stage: FAIR's part of its settings decides whether
    the feed-forward's gates feel it ("whole") or not ("attention"); its gates are as before afterwards.

    gates: by layer and gate the slope of the diffusion loss (mean, std over batches, snr = |mean| / std, sure: |mean|
    is above two standard errors), the slope c of FAIR, lambda_mean and lambda_batch (None: FAIR does not reach it).
    held: for several lambdas, how many gates it holds closed on average, and in a typical batch.
    """
    names = list(stage.adapter.layers.configs)
    pulls = [_pull(stage, batch, seed + i, side=(-1.0) ** i) for i, batch in enumerate(islice(batches(0), count))]
    slopes = {gate: np.array([pull[gate, "diffusion"] for pull in pulls]) for gate in GATES}  # (batches, layers)
    costs = {gate: np.array([pull[gate, "fair"] for pull in pulls]).mean(0) for gate in GATES}
    rows = [
        {"layer": short, "gate": gate} | _row(slopes[gate][:, i], float(costs[gate][i]))
        for i, short in enumerate(short_names(names))
        for gate in GATES
    ]
    felt = [row for row in rows if row["lambda_mean"] is not None]
    held = {
        str(strength): {
            "mean": sum(row["lambda_mean"] < strength for row in felt),
            "batch": sum(row["lambda_batch"] < strength for row in felt),
        }
        for strength in LAMBDAS
    }
    about = {"batches": count, "batch": len(next(iter(batches(0)))["latents"]), "increment": stage.config.increment}
    median = {key: _short(np.median([row[key] for row in felt])) for key in ("lambda_mean", "lambda_batch", "snr")}
    return about | {"felt": len(felt), "median": median, "held": held, "gates": rows}


def _row(slope: np.ndarray, cost: float) -> dict[str, Any]:
    mean, std = abs(float(slope.mean())), float(slope.std(ddof=1)) if len(slope) > 1 else 0.0
    felt = cost > 1e-9
    return {
        "diffusion_mean": _short(slope.mean()),
        "diffusion_std": _short(std),
        "snr": _short(mean / max(std, 1e-12)),
        "sure": bool(mean > 2 * std / len(slope) ** 0.5),
        "fair": _short(cost),
        "lambda_mean": _short(mean / cost) if felt else None,
        "lambda_batch": _short(np.abs(slope).mean() / cost) if felt else None,
    }


def _short(value: Any) -> float:
    return float(f"{float(value):.4g}")


def _pull(stage: FactStage, batch: Mapping[str, Tensor], seed: int, side: float) -> dict[tuple[str, str], np.ndarray]:
    """(gate, loss) -> (layers,): the diffusion loss's slope at 0, FAIR's away from 0 on one side of it."""
    with gates_at(stage, 0.0, 0.0):
        diffusion = slopes(stage, batch, "diffusion", seed)
    found = {(gate, "diffusion"): diffusion[gate] for gate in GATES}
    for gate in GATES:
        found[gate, "fair"] = side * fair_slopes(stage, batch, gate, side, seed)
    return found


def fair_slopes(stage: FactStage, batch: Mapping[str, Tensor], gate: str, side: float, seed: int = 0) -> np.ndarray:
    """(layers,): dFAIR / dalpha of one gate of every layer at side * STEP, all others closed."""
    at = {one: side * STEP if one == gate else 0.0 for one in GATES}
    with gates_at(stage, at["attn"], at["dense"]):
        return slopes(stage, batch, "fair", seed)[gate]


def slopes(stage: FactStage, batch: Mapping[str, Tensor], loss: str, seed: int) -> dict[str, np.ndarray]:
    """gate -> (layers,): the derivative of one of the stage's losses by each gate, for the noise that `seed` gives."""
    alphas = [alpha for gate in GATES for alpha in _alphas(stage, gate)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        terms = stage(dict(batch))
    found = torch.autograd.grad(terms[loss], alphas, allow_unused=True)
    flat = np.array([0.0 if one is None else float(one) for one in found])
    return dict(zip(GATES, np.split(flat, len(GATES)), strict=True))


@contextmanager
def gates_at(stage: FactStage, attn: float, dense: float) -> Iterator[None]:
    """All layers' gates at these values for a while."""
    alphas = {gate: _alphas(stage, gate) for gate in GATES}
    before = {gate: [float(alpha.detach()) for alpha in some] for gate, some in alphas.items()}

    def put(values: Mapping[str, list[float]]) -> None:
        with torch.no_grad():
            for gate, some in alphas.items():
                for alpha, value in zip(some, values[gate], strict=True):
                    alpha.fill_(value)

    put({"attn": [attn] * len(alphas["attn"]), "dense": [dense] * len(alphas["dense"])})
    try:
        yield
    finally:
        put(before)


def _alphas(stage: FactStage, gate: str) -> list[nn.Parameter]:
    return [getattr(layer, f"alpha_{gate}") for _, layer in stage.adapter.layers.items()]

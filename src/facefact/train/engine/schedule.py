"""The settings of a training, and what follows from them: learning rate, optimizers, and the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from facefact.device import choose_precision
from facefact.train.engine.muon import Muon
from facefact.types import UserError


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    batch: pictures of one process in one forward pass; a step learns from batch x accumulate x processes. optimizer:
    muon (matrices; AdamW for the rest), adamw, or adamw8bit (bitsandbytes). lr: Muon's, or AdamW's where it is alone;
    beside Muon AdamW's is `adamw` times that; that of an adapter's gates is `gates` times AdamW's. warmup: steps. hold:
    steps at the peak after it. decay: what follows, down to `final_lr` of the peak. clip: of the gradient's norm. ema:
    the average's memory in steps as a share of the steps so far (0.1: about the last tenth). keep: how much of the
    weights that a training began from is in those that it leaves (the ends of two trainings in a row, averaged, are
    better than the second: Wortsman et al. 2022; of no use to fresh weights). explode: stop when the
    loss stays above so many times its median (None: only when it is not finite). save_every: seconds between
    checkpoints; save_steps: one every so many steps besides. checkpoints_total_limit: older ones are removed (0: none
    is). log_every: steps between two looks at the losses on a GPU, which cost it a pause (on a CPU: every step).
    workers: processes that make batches ahead (0: the training process itself does). precision: of the arithmetic;
    auto is bf16 where the device multiplies it natively, else fp32 (see `resolved`).
    """

    steps: int
    batch: int
    lr: float = 1e-3
    warmup: int = 100
    hold: int = 0
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    final_lr: float = 0.02
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.05
    keep: float = 0.0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    accumulate: int = 1
    optimizer: Literal["muon", "adamw", "adamw8bit"] = "muon"
    adamw: float = 0.5
    gates: float = 5.0
    explode: float | None = 10.0
    seed: int = 0
    save_every: float = 120.0
    save_steps: int | None = None
    checkpoints_total_limit: int = 2
    log_every: int = 20
    workers: int = 0

    def check(self) -> None:
        """UserError: what is wrong before the first step."""
        for name in ("steps", "batch", "accumulate", "log_every"):
            if getattr(self, name) < 1:
                raise UserError(f"setting schedule.{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.keep < 1:
            raise UserError(f"setting schedule.keep must be from 0 to below 1, not {self.keep}")
        if self.save_steps is not None and self.save_steps < 1:
            raise UserError(f"setting schedule.save_steps must be at least 1 or null, not {self.save_steps}")
        if self.explode is not None and self.explode <= 1:
            raise UserError(f"setting schedule.explode must be above 1 or null, not {self.explode}")
        if self.precision == "fp16" and self.optimizer == "muon":
            # Accelerate updates the loss scaling once for each optimizer, and would unscale the second one's twice.
            raise UserError("schedule.precision=fp16 works with one optimizer: set schedule.optimizer=adamw, or bf16")


C = TypeVar("C")


def resolved(settings: C, device: torch.device) -> C:
    """Settings in which every schedule says its precision: what `auto` means on this device."""
    if not is_dataclass(settings) or isinstance(settings, type):
        return settings
    changed = {f.name: resolved(getattr(settings, f.name), device) for f in fields(settings)}
    if isinstance(settings, Schedule):
        changed["precision"] = choose_precision(device, settings.precision)
    return replace(settings, **changed)  # type: ignore[type-var]


# Settings that do not change what is learned.
WITHOUT_EFFECT = ("save_every", "save_steps", "checkpoints_total_limit", "log_every", "workers", "explode")


def learning_rate(step: int, schedule: Schedule) -> float:
    """Linear warm-up, the peak for as long as it is held, then the decay to `final_lr` of the peak; as a factor."""
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    begin = schedule.warmup + schedule.hold
    if schedule.decay == "constant" or step < begin:
        return 1.0
    done = min(1.0, (step - begin) / max(1, schedule.steps - begin))
    left = 1 - done if schedule.decay == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return schedule.final_lr + (1 - schedule.final_lr) * left


@runtime_checkable
class WithGates(Protocol):
    """A stage whose gates start closed, and learn faster: until they open, nothing behind them learns."""

    def gate_parameters(self) -> Iterable[nn.Parameter]: ...


@runtime_checkable
class WithEmbeddings(Protocol):
    """A stage with matrices that are no inner layer's: tables, and what makes channels of pixels or of timesteps.
    (Those of `nn.Embedding` are known by their type.)"""

    def embedding_parameters(self) -> Iterable[nn.Parameter]: ...


@dataclass(frozen=True)
class ParameterGroups:
    """What learns of a stage. matrices: of at least 16 x 16, inside the network. gates: `WithGates`. rest: embeddings,
    norms, biases."""

    matrices: list[nn.Parameter]
    rest: list[nn.Parameter]
    gates: list[nn.Parameter]


def parameter_groups(stage: nn.Module) -> ParameterGroups:
    gates = {id(p) for p in stage.gate_parameters()} if isinstance(stage, WithGates) else set()
    embeddings = {id(p) for p in stage.embedding_parameters()} if isinstance(stage, WithEmbeddings) else set()
    embeddings |= {id(one.weight) for one in stage.modules() if isinstance(one, nn.Embedding)}
    groups = ParameterGroups([], [], [])
    for parameter in stage.parameters():
        if not parameter.requires_grad:
            continue
        inner = parameter.ndim >= 2 and min(parameter.flatten(1).shape) >= 16 and id(parameter) not in embeddings
        (groups.gates if id(parameter) in gates else groups.matrices if inner else groups.rest).append(parameter)
    return groups


def optimizers(stage: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon or AdamW for the matrices inside the network; AdamW without weight decay for everything else, faster for
    gates. UserError: 8 bit without bitsandbytes."""
    learning = parameter_groups(stage)
    matrices, rest, gates = learning.matrices, learning.rest, learning.gates
    found: list[torch.optim.Optimizer] = []
    lr, alone = schedule.lr, schedule.optimizer != "muon"
    if matrices and not alone:
        found.append(Muon(matrices, lr=lr, weight_decay=schedule.weight_decay))
    lr = lr if alone else lr * schedule.adamw
    groups = [
        {"params": matrices if alone else [], "lr": lr, "weight_decay": schedule.weight_decay},
        {"params": rest, "lr": lr, "weight_decay": 0.0},
        {"params": gates, "lr": lr * schedule.gates, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if groups:
        found.append(_adamw(schedule)(groups, betas=(0.9, 0.98)))
    return found


def _adamw(schedule: Schedule) -> Any:
    if schedule.optimizer != "adamw8bit":
        return torch.optim.AdamW
    try:
        from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found]
    except ImportError as error:
        raise UserError("schedule.optimizer=adamw8bit needs bitsandbytes: pip install bitsandbytes") from error
    return AdamW8bit


class Average:
    """Exponential moving average of the trainable parameters, its memory growing with the steps (Karras et al. 2024,
    EDM2, use the same idea: a constant share of the training's length). Of half-precision parameters in fp32: its steps
    are smaller than theirs. What it leaves is that much of where it began: `keep`."""

    def __init__(self, stage: nn.Module, share: float, keep: float = 0.0):
        self.share, self.keep = share, keep
        self.values = {n: _single(p).clone() for n, p in stage.named_parameters() if p.requires_grad}
        self.begun = {name: value.clone() for name, value in self.values.items()} if keep else {}

    @torch.no_grad()
    def update(self, stage: nn.Module, step: int) -> None:
        weight = 1.0 / (1.0 + self.share * step)
        parameters = [(self.values[n], _single(p)) for n, p in stage.named_parameters() if p.requires_grad]
        torch._foreach_lerp_([a for a, _ in parameters], [p for _, p in parameters], weight)

    @torch.no_grad()
    def copy_to(self, stage: nn.Module) -> None:
        for name, parameter in stage.named_parameters():
            if name in self.values:
                value = self.values[name]
                _local(parameter).copy_(value.lerp(self.begun[name], self.keep) if self.keep else value)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """ValueError: of other parameters."""
        if shapes(values) != shapes(self.values):
            raise ValueError("the average is of other parameters")
        for name, value in values.items():
            self.values[name].copy_(value)


def _local(parameter: Tensor) -> Tensor:
    """This process's part of a parameter that FSDP2 shards; any other one whole."""
    return parameter.to_local() if hasattr(parameter, "to_local") else parameter


def _single(parameter: Tensor) -> Tensor:
    value = _local(parameter.detach())
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}

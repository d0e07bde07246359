"""The processes of one training: how they are set up, what they agree on, what each of them draws, and the signals that
end them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, broadcast_object_list
from torch import Tensor

from facefact.checkpoint import locked
from facefact.train.engine.schedule import Schedule
from facefact.types import UserError

T = TypeVar("T")
SHARDING = (DistributedType.FSDP, DistributedType.DEEPSPEED)


@contextlib.contextmanager
def own_precision() -> Iterator[None]:
    """Accelerate holds one precision for a process; the stages of a recipe differ in theirs. Inside, none is chosen
    yet; afterwards it is what it was."""
    # Private, for want of a public way: an Accelerator of another precision is refused as long as this is filled, and
    # our own autocast in its place would miss what Accelerate derives from the precision besides: fp16's loss scaling,
    # and the number types of FSDP and DeepSpeed.
    shared = AcceleratorState._shared_state
    before = dict(shared)
    shared.clear()
    try:
        yield
    finally:
        shared.clear()
        shared.update(before)


def new_accelerator(schedule: Schedule, folder: Path, trackers: Sequence[str] = ()) -> Accelerator:
    """UserError: the precision, the optimizer or a tracker does not go with this machine or way of sharing."""
    cpu = not torch.cuda.is_available()
    if schedule.precision == "fp16" and cpu:
        raise UserError("schedule.precision=fp16 needs a GPU: set schedule.precision=bf16 or fp32")
    check_trackers(trackers)
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision=schedule.precision.replace("fp32", "no"),
        project_dir=folder,
        gradient_accumulation_steps=schedule.accumulate,
        log_with=list(trackers) or None,
    )
    if accelerator.distributed_type in SHARDING:
        check_sharding(accelerator, schedule)
    return accelerator


def check_sharding(accelerator: Accelerator, schedule: Schedule) -> None:
    """UserError: what would train wrongly where processes share the parameters or the optimizer."""
    if schedule.optimizer == "muon":
        raise UserError("Muon needs whole matrices, FSDP and DeepSpeed cut them: set schedule.optimizer=adamw")
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        plugin = accelerator.state.deepspeed_plugin
        if plugin.zero_stage == 3:
            raise UserError("ZeRO-3 hides the parameters from the average: use ZeRO-2, or FSDP with fsdp_version: 2")
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = schedule.batch  # (there is no DataLoader to ask)
    elif not accelerator.is_fsdp2:
        raise UserError("FSDP 1 flattens the parameters: set fsdp_version: 2 in the Accelerate config")


def check_trackers(names: Sequence[str]) -> None:
    """UserError: a tracker that Accelerate does not know, or whose package is not installed."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    from accelerate.utils import LoggerType

    known, installed = [str(name) for name in LOGGER_TYPE_TO_CLASS], [str(name) for name in get_available_trackers()]
    for name in names:
        if name not in known:
            raise UserError(f"no tracker is called {name}; Accelerate knows {', '.join(known)}")
        if name in LoggerType.list() and name not in installed:  # (others were registered with their class)
            raise UserError(f"the tracker {name} is not installed: pip install {name.replace('_', '-')}")


def on_first(accelerator: Accelerator, work: Callable[[], T]) -> T:
    """`work()` of the first process, told to all; its UserError too, for none may wait for one that gave up."""
    told: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            told[0] = work()
        except UserError as error:
            told[1] = str(error)
    broadcast_object_list(told)
    if told[1] is not None:
        raise UserError(told[1])
    return told[0]


@contextlib.contextmanager
def alone_in(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """All processes of this training, and no other training, in the folder."""
    with contextlib.ExitStack() as stack:
        on_first(accelerator, lambda: stack.enter_context(locked(folder)))
        yield


class Signals:
    """Ctrl-C and SIGTERM (preemption) as a wish that the loop hears between two steps, with the state whole; a second
    Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.got: int | None = None
        self.handlers: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():  # (no other one may)
            self.handlers = {n: signal.signal(n, self.hear) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def hear(self, number: int, frame: object) -> None:
        self.got = number
        signal.signal(signal.SIGINT, signal.default_int_handler)


def any_of(wishes: Sequence[bool], accelerator: Accelerator) -> list[bool]:
    """Each wish: whether any process has it. None may stop, or save, alone."""
    if accelerator.num_processes == 1:
        return list(wishes)
    votes = torch.tensor([float(wish) for wish in wishes], device=accelerator.device)
    return [vote > 0 for vote in accelerator.reduce(votes, "sum").tolist()]


def rows(draw: Callable[[int], Tensor], n: int) -> Tensor:
    """This process's n rows of what `draw` gives for the batches of all processes together: `draw(n x processes)`, on
    one process `draw(n)`. What a stage draws so for each sample does not depend on how many processes share the work:

        noise = rows(lambda total: torch.randn(total, *latents.shape[1:], device=latents.device), len(latents))
    """
    if not (dist.is_available() and dist.is_initialized()):
        return draw(n)
    first = dist.get_rank() * n
    return draw(n * dist.get_world_size())[first : first + n]

"""What a training's checkpoint holds: taken from its parts, and put back into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from facefact.train.engine.checkpoints import AVERAGE, Checkpoints, Snapshot
from facefact.train.engine.processes import SHARDING
from facefact.train.engine.schedule import Average, Schedule, shapes
from facefact.types import UserError


def learned(stage: nn.Module) -> set[str]:
    """Names of what a checkpoint holds: the parameters that learn, and every buffer."""
    return {n for n, p in stage.named_parameters() if p.requires_grad} | {n for n, _ in stage.named_buffers()}


@dataclass(frozen=True)
class TrainingState:
    """All that changes from step to step. optimizers: as Accelerate wraps them."""

    stage: nn.Module
    average: Average
    optimizers: Sequence[Any]
    accelerator: Accelerator
    schedule: Schedule
    checkpoints: Checkpoints

    @property
    def sharded(self) -> bool:
        return self.accelerator.distributed_type in SHARDING

    def weights(self) -> dict[str, Tensor]:
        """What a checkpoint holds of the stage."""
        kept = learned(self.stage)
        return {name: value for name, value in self.stage.state_dict().items() if name in kept}

    def save(self, step: int) -> None:
        """A checkpoint of this step. OSError: it could not be written; those before it are still there."""
        if self.sharded:
            self._save_sharded(step)
        elif self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            optimizer = {
                "optimizers": [one.state_dict() for one in self.optimizers],
                "scaler": None if scaler is None else scaler.state_dict(),
            }
            snapshot = Snapshot(step, self.weights(), self.average.values, optimizer, asdict(self.schedule))
            self.checkpoints.save(snapshot)

    def restore(self, step: int) -> None:
        """Put a checkpoint back. UserError: it was made for another network or optimizer."""
        where, made = self.checkpoints.directory(step), self.checkpoints.state(step)["schedule"]
        for name in ("optimizer", "precision"):
            then, now = made.get(name), getattr(self.schedule, name)
            if then != now:
                raise UserError(
                    f"{where} was made with schedule.{name}={then}, not {now}: set that, or give another folder"
                )
        if self.sharded:
            self._restore_sharded(step)
            return
        snapshot = self.checkpoints.read(step)
        try:
            self._restore_whole(snapshot)
        except ValueError as error:
            raise UserError(
                f"{where} was made for another network or other settings; give another folder or remove it"
            ) from error

    def _restore_whole(self, snapshot: Snapshot) -> None:
        """ValueError: of other weights, or of another optimizer."""
        if shapes(snapshot.model) != shapes(self.weights()):
            raise ValueError("other weights")
        self.average.load(snapshot.average)
        for one, state in zip(self.optimizers, snapshot.optimizer["optimizers"], strict=True):
            one.load_state_dict(state)
        self.stage.load_state_dict(snapshot.model, strict=False)
        if self.accelerator.scaler is not None and snapshot.optimizer["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(snapshot.optimizer["scaler"])

    def _save_sharded(self, step: int) -> None:
        """Every process writes its part, through Accelerate, under a name that nobody reads; the first one renames."""
        accelerator, partial = self.accelerator, self.checkpoints.partial(step)
        if accelerator.is_main_process:
            self.checkpoints.begin(step)
        accelerator.wait_for_everyone()
        frozen = accelerator.distributed_type == DistributedType.DEEPSPEED  # (FSDP has no such option)
        accelerator.save_state(str(partial / "shards"), **({"exclude_frozen_parameters": True} if frozen else {}))
        part = {name: value.contiguous() for name, value in self.average.values.items()}
        save_file(part, partial / f"{accelerator.process_index}-{AVERAGE}")
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            self.checkpoints.complete(step, asdict(self.schedule), processes=accelerator.num_processes)
        accelerator.wait_for_everyone()

    def _restore_sharded(self, step: int) -> None:
        directory, processes = self.checkpoints.directory(step), self.accelerator.num_processes
        if (made := self.checkpoints.state(step).get("processes")) != processes:
            raise UserError(f"{directory} is the checkpoint of {made} processes, not of {processes}: launch as many")
        lenient = self.accelerator.distributed_type == DistributedType.DEEPSPEED  # the frozen ones are not in it
        self.accelerator.load_state(str(directory / "shards"), **({"load_module_strict": False} if lenient else {}))
        self.average.load(load_file(directory / f"{self.accelerator.process_index}-{AVERAGE}"))

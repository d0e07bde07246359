"""What `facefact eval ablation` is asked for: the arms, the trainings that they are, and where each lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facefact.config import load_config
from facefact.train.adapter.leak_meter import TIMESTEPS
from facefact.train.material.fill import fingerprint
from facefact.train.settings import AdapterTraining, decisive, tree_of
from facefact.types import UserError

# Settings in which arms may not differ: what is measured, and who is held out, follows from them.
COMMON = ("base", "data.source", "data.size", "data.seed", "data.validation_people", "adapter.encoder")


@dataclass(frozen=True)
class HeldOutPeople:
    """people, seed: of the world, drawn from those whom no training draws; a data set's are those that it keeps out of
    training. timesteps, noise: at which, and the seed of the noise."""

    people: int = 64
    seed: int = 9061
    timesteps: tuple[int, ...] = TIMESTEPS
    noise: int = 0


@dataclass(frozen=True)
class GatePull:
    """batches: how many the analysis of the closed gates averages over; 0: none is made."""

    batches: int = 8


@dataclass(frozen=True)
class StepCost:
    """rounds: how often a step of each arm's losses is timed; 0: never."""

    rounds: int = 0


@dataclass(frozen=True)
class Ablation:
    """base: the settings of an adapter's training, relative to the ablation's file. set: overrides for all arms. arms:
    each one's overrides. reference: the arm that the others are compared with. seeds: every arm is trained once with
    each, and intervals are over trainings and people together; none: once, with the settings' own."""

    base: str
    arms: dict[str, tuple[str, ...]]
    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    reference: str = "no_fair"
    held_out: HeldOutPeople = HeldOutPeople()
    gate_pull: GatePull = GatePull()
    step_cost: StepCost = StepCost()


@dataclass(frozen=True)
class Run:
    """One training of an arm."""

    arm: str
    config: AdapterTraining
    folder: Path


@dataclass(frozen=True)
class Plan:
    """The settings of the trainings. common: without any arm's overrides."""

    ablation: Ablation
    common: AdapterTraining
    arms: dict[str, AdapterTraining]
    out: Path

    def runs(self) -> list[Run]:
        """All arms with the first seed, then all with the next: whoever stops in between can compare what is there."""
        if not self.ablation.seeds:
            return [Run(name, config, self.out / name) for name, config in self.arms.items()]
        return [
            Run(name, replace(one, schedule=replace(one.schedule, seed=seed)), self.out / name / f"seed_{seed}")
            for seed in self.ablation.seeds
            for name, one in self.arms.items()
        ]


def read_plan(path: Path, out: Path, only: Sequence[str] = ()) -> Plan:
    """UserError: an unknown arm, settings that are wrong, or arms that differ in what is measured."""
    ablation = load_config(Ablation, path)
    if unknown := sorted(set(only) - set(ablation.arms)):
        raise UserError(f"{path} has no arm {unknown[0]}; it has {', '.join(ablation.arms)}")
    if not ablation.arms:
        raise UserError(f"{path} has no arms: nothing would be compared")

    def settings(overrides: Sequence[str]) -> AdapterTraining:
        made = load_config(AdapterTraining, path.parent / ablation.base, overrides=[*ablation.set, *overrides])
        made.check()
        return replace(made, data=replace(made.data, cache=made.data.cache or out / "cache"))

    common = settings(())
    arms = {name: settings(more) for name, more in ablation.arms.items() if name in only or not only}
    for name, config in arms.items():
        if Path(name).name != name or name in ("cache", "before"):
            raise UserError(f"an arm cannot be called {name!r}: its folder is to have this name")
        if differs := [key for key in COMMON if _at(config, key) != _at(common, key)]:
            raise UserError(
                f"arm {name} changes {differs[0]}, and could not be compared with the others: put it in set"
            )
    if ablation.gate_pull.batches and (common.loss.increment == "ungated" or common.loss.squared):
        raise UserError(
            f"{path}: what pulls at closed gates is measured for a norm of gated increments, and set asks for another "
            "form of FAIR: name the form in the arms, or set gate_pull.batches to 0"
        )
    if len(set(ablation.seeds)) < len(ablation.seeds):
        raise UserError(f"{path}: a seed stands twice in seeds, and would count twice: {list(ablation.seeds)}")
    return Plan(ablation, common, arms, out)


def _at(config: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        config = getattr(config, name)
    return config


def warm_up_folder_of(config: AdapterTraining, out: Path) -> Path:
    """One folder for all settings that give the same warm-up."""
    tree = decisive(tree_of(config))
    decides = {
        "base": tree["base"],
        "data": tree["data"],
        "seed": config.schedule.seed,
        "adapter": {name: value for name, value in tree["adapter"].items() if name != "gate"},
    }
    return out / "before" / fingerprint(decides)

"""`facefact eval ablation`: short trainings that differ in one choice each, measured on people that none has seen.

OUT/<arm>/         a run of `facefact train` each (of several seeds: OUT/<arm>/seed_<n>/); what is finished is not
                   trained again
OUT/cache, OUT/before     shared by all arms whose settings allow it
OUT/ablation.{json,md,png}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facefact.checkpoint import content_hash, replacing
from facefact.demo import BUNDLE
from facefact.device import training_device
from facefact.evaluate.ablation_page import draw, markdown
from facefact.evaluate.ablation_plan import Plan, read_plan, warm_up_folder_of
from facefact.evaluate.condition_gap import FIGURES, Samples, gates, measure, of_people
from facefact.evaluate.gate_pull import gate_pull
from facefact.evaluate.layers import ALIVE
from facefact.evaluate.pictures import Progress
from facefact.evaluate.step_cost import cost_figures, step_costs
from facefact.face_adapter import FaceAdapter
from facefact.metrics.scores import Figure, figure
from facefact.train.adapter.condition_loss import INSIDE, HeldOut
from facefact.train.adapter.opened import Inputs, open_inputs, open_training, split_people
from facefact.train.adapter.run import train_adapter
from facefact.train.engine.schedule import resolved
from facefact.train.material.cache import Cache
from facefact.train.material.fill import fill, fingerprint
from facefact.train.material.frozen import Frozen
from facefact.train.material.sources import held_out
from facefact.train.material.world import WorldSource
from facefact.train.settings import AdapterTraining, decisive, note_settings, tree_of
from facefact.types import UserError
from facefact.world import HELD_OUT

COMPARED = ("own", "gap", "leak_attention", "leak_whole", "leak_output", "alive", "rank1", "outside_change")


@dataclass
class Arm:
    """What was measured of one, all its trainings together. samples: by the figure's name."""

    samples: dict[str, Samples] = field(default_factory=dict)
    gates: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pictures:
    """`--pictures`: people with so many pictures each, of the protocol of `facefact eval world` with this seed."""

    judges: Path
    people: int = 32
    per_person: int = 2
    seed: int = 3


def run_ablation(
    path: Path,
    out: Path,
    *,
    only: Sequence[str] = (),
    pictures: Pictures | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train what is not trained yet, measure, and write OUT/ablation.*; returns the report as JSON values. UserError:
    settings that are wrong, or arms that cannot be compared, before anything is computed."""
    plan = read_plan(path, out, only)
    if pictures and plan.common.base.source != "bundle":
        raise UserError("--pictures are judged on the embedded model: base.source must be bundle")
    inputs = open_inputs(plan.common)
    frozen = inputs.frozen
    model = content_hash(frozen.unet.state_dict())
    pull = closed_gates(plan, inputs, model)
    costs = costs_of_steps(plan, inputs, model)
    for run in plan.runs():
        train_run(run.config, run.folder, warm_up_folder_of(run.config, out))
    held_out = held_out_people(plan, inputs)
    measured = {}
    for done, name in enumerate(plan.arms, 1):
        measured[name] = measured_arm(plan, name, frozen, held_out, model)
        measured[name].cost = costs.get(name, {})
        if progress:
            progress("arms", done, len(plan.arms))
    if pictures:
        add_pictures(plan, measured, pictures, progress)
    report = report_of(plan, measured, len(held_out)) | ({"gate_pull": pull} if pull else {})
    write(report, out)
    return report


def train_run(config: AdapterTraining, folder: Path, warm_up_folder: Path) -> None:
    """Train, or go on, unless it is finished. UserError: the folder holds another training, or it was interrupted."""
    finished = folder / "adapter" / "README.md"  # (the card is written last)
    if finished.is_file():
        note_settings(resolved(config, training_device()), folder)  # (as the training noted them)
        return
    train_adapter(config, folder, warm_up_folder=warm_up_folder)
    if not finished.is_file():
        raise UserError(f"{folder} was interrupted: the same command goes on")


# What is measured


def measured_arm(plan: Plan, name: str, frozen: Frozen, held_out: HeldOut, model: str) -> Arm:
    """The figures of a finished arm, all its trainings together. model: hash of the base model."""
    folders = [run.folder for run in plan.runs() if run.arm == name]
    adapters = [FaceAdapter.from_pretrained(folder / "adapter") for folder in folders]
    made = [
        with_layers(measured_run(plan, folder, adapter, frozen, held_out, model))
        for folder, adapter in zip(folders, adapters, strict=True)
    ]
    return Arm(together(made), gates(*adapters))


def measured_run(
    plan: Plan, folder: Path, adapter: FaceAdapter, frozen: Frozen, held_out: HeldOut, model: str
) -> dict[str, Samples]:
    """The figures of one finished training, measured once."""
    where = plan.ablation.held_out

    def make() -> dict[str, list[float]]:
        found = measure(adapter, frozen, held_out, where.timesteps, seed=where.noise)
        return {key: samples.values.tolist() for key, samples in found.items()}

    people = {"held_out": asdict(where), "unseen_from": HELD_OUT, "data": decisive(tree_of(plan.common))["data"]}
    decides = {"adapter": adapter.content_hash(), "model": model, "figures": FIGURES, **people}
    values = remembered(folder / "held_out.json", decides, make)
    return {key: of_people(np.array(some)) for key, some in values.items()}


def with_layers(samples: Mapping[str, Samples]) -> dict[str, Samples]:
    """And `alive`: of each layer, in the place of a person, 1 where its share of change inside the face is at least
    `ALIVE`, else 0."""
    shares = np.array([some.values.mean() for key, some in samples.items() if key.startswith(INSIDE)])
    return {**samples, "alive": of_people((shares >= ALIVE).astype(float))}


def together(made: Sequence[Mapping[str, Samples]]) -> dict[str, Samples]:
    """The samples of several trainings."""
    return {
        key: Samples(
            np.concatenate([one[key].values for one in made]),
            np.concatenate([one[key].people for one in made]),
            np.concatenate([np.full_like(one[key].people, run) for run, one in enumerate(made)]),
        )
        for key in made[0]
    }


def remembered(path: Path, decides: Mapping[str, Any], make: Callable[[], Any]) -> Any:
    """What `make` gives, as JSON values; from the file where that was made of the same."""
    key = fingerprint(decides)
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["of"] == key:
            return found["made"]
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"of": key, "made": made}) + "\n", encoding="utf-8")
    return made


class UnseenWorld(WorldSource):
    """Rendered avatars whom no training has seen, drawn as the training's are, from the seeds of the evaluation."""

    def __init__(self, people: int, looks: int, seed: int) -> None:
        super().__init__(people, looks, seed)
        self.seeds = [(HELD_OUT + who, HELD_OUT + shown) for who, shown in self.seeds]


def held_out_people(plan: Plan, inputs: Inputs) -> HeldOut:
    """Two pictures of each; all on the device of the measurement. Of the world people of the evaluation; of a data set
    those whom it keeps out of training."""
    settings, data, frozen = plan.ablation.held_out, plan.common.data, inputs.frozen
    frozen.to(inputs.process.device)
    world = data.source == "world"
    source = UnseenWorld(settings.people, 2, settings.seed) if world else inputs.source
    assert data.cache is not None, "read_plan has set it"
    cache = Cache.open(fill(source, frozen, data.cache, size=data.sizes()[-1][1]))
    return HeldOut.of(cache if world else split_people(cache, held_out(source, data))[1], frozen.device)


def closed_gates(plan: Plan, inputs: Inputs, model: str) -> dict[str, Any]:
    """`gate_pull` for the common settings at step 0, measured once; {}: not wanted. model: hash of the base model."""
    count = plan.ablation.gate_pull.batches
    if count < 1:
        return {}
    decides = {"settings": decisive(tree_of(plan.common)), "model": model, "batches": count}
    return remembered(plan.out / "gate_pull.json", decides, lambda: pull_at_closed_gates(plan, inputs))


def costs_of_steps(plan: Plan, inputs: Inputs, model: str) -> dict[str, dict[str, Any]]:
    """`cost_figures` of the arms' losses as they are at the last step, timed once; {}: not wanted."""
    rounds, schedule = plan.ablation.step_cost.rounds, plan.common.schedule
    if rounds < 1:
        return {}
    losses = {name: config.loss for name, config in plan.arms.items()}
    decides = {"settings": decisive(tree_of(plan.common)), "model": model, "rounds": rounds}

    def make() -> dict[str, list[float]]:
        asking = next((one.identity for one in losses.values() if one.identity != 0.0), 0.0)
        config = replace(plan.common, loss=replace(plan.common.loss, identity=asking))
        opened = open_training(config, inputs, plan.out, warm_up_folder=warm_up_folder_of(config, plan.out))
        batch = {name: value.to(opened.device) for name, value in next(opened.batches()(0)).items()}
        try:
            return step_costs(opened.stage, batch | {"step": torch.tensor(schedule.steps)}, losses, rounds=rounds)
        finally:
            opened.adapter.detach()

    trees = {name: asdict(one) for name, one in losses.items()}
    return cost_figures(
        remembered(plan.out / "step_cost.json", decides | {"losses": trees}, make), plan.ablation.reference
    )


def pull_at_closed_gates(plan: Plan, inputs: Inputs) -> dict[str, Any]:
    """After what is trained before the diffusion, in fp32."""
    config = replace(plan.common, loss=replace(plan.common.loss, fair=0.0, identity=0.0))
    opened = open_training(config, inputs, plan.out, warm_up_folder=warm_up_folder_of(config, plan.out))
    batches = opened.batches()

    def on_device(number: int) -> Iterator[dict[str, Tensor]]:
        return ({name: value.to(opened.device) for name, value in one.items()} for one in batches(number))

    try:
        return gate_pull(opened.stage, on_device, count=plan.ablation.gate_pull.batches)
    finally:
        opened.adapter.detach()


def add_pictures(plan: Plan, measured: Mapping[str, Arm], pictures: Pictures, progress: Progress | None) -> None:
    """rank1 and outside_change of pictures, with the independent judges."""
    from facefact.evaluate.judges import Judges
    from facefact.evaluate.pictures import Painter, Sampling, person_tokens
    from facefact.evaluate.protocol import protocol
    from facefact.metrics.scores import change_outside, retrieved

    cases = protocol(pictures.seed, people=pictures.people, per_person=pictures.per_person)
    judges, device = Judges.open(pictures.judges, BUNDLE), "cuda" if torch.cuda.is_available() else "cpu"
    painter = Painter.open(BUNDLE, Sampling(), device=device, progress=progress)
    known = judges.embed([one.image for one in cases.references])
    base = painter.base(cases.cases)
    faces = judges.faces(base)
    found: dict[str, list[dict[str, Samples]]] = {name: [] for name in measured}
    for run in plan.runs():
        adapter = FaceAdapter.from_pretrained(run.folder / "adapter")
        tokens = person_tokens(adapter, cases.references, judges.detector)
        made = painter.adapted(cases.cases, adapter, tokens, title=run.arm)
        values = {
            "rank1": retrieved(judges.embed(made) @ known.T, cases.own),
            "outside_change": change_outside(made, base, faces | judges.faces(made)),
        }
        found[run.arm].append({key: Samples(some, cases.own, 0 * cases.own) for key, some in values.items()})
    for name, some in found.items():
        measured[name].samples |= together(some)


# The report


def report_of(plan: Plan, measured: Mapping[str, Arm], people: int) -> dict[str, Any]:
    """Figures of each arm, and its differences from the reference, person by person. All JSON values."""
    reference = measured.get(plan.ablation.reference)
    arms = {}
    for name, arm in measured.items():
        arms[name] = {
            "overrides": list(plan.ablation.arms[name]),
            "figures": {
                key: as_json(figure(*samples)) for key, samples in arm.samples.items() if not key.startswith(INSIDE)
            },
            "layers": {
                key.removeprefix(INSIDE): float(f"{samples.values.mean():.4g}")
                for key, samples in arm.samples.items()
                if key.startswith(INSIDE)
            },
            "gates": arm.gates,
        }
        if arm.cost:
            arms[name]["cost"] = arm.cost
        if reference is not None and arm is not reference:
            pairs = {key: (arm.samples[key], reference.samples[key]) for key in COMPARED if key in arm.samples}
            arms[name]["difference"] = {
                key: as_json(figure(own.values - other.values, own.people, own.runs))
                for key, (own, other) in pairs.items()
                if own.values.shape == other.values.shape
            }
    schedule, where = plan.common.schedule, plan.ablation.held_out
    return {
        "people": people,
        "timesteps": list(where.timesteps),
        "steps": schedule.steps,
        "batch": schedule.batch,
        "seeds": list(plan.ablation.seeds) or [schedule.seed],
        "reference": plan.ablation.reference,
        "arms": arms,
    }


def as_json(one: Figure) -> dict[str, float | int]:
    """(Losses differ in the fourth digit: `Figure.as_json` keeps too few.)"""
    return {name: value if isinstance(value, int) else float(f"{value:.5g}") for name, value in asdict(one).items()}


def write(report: Mapping[str, Any], out: Path) -> None:
    """OUT/ablation.json, .md, and (with matplotlib) .png."""
    texts = {"json": json.dumps(report, indent=2) + "\n", "md": markdown(report)}
    for suffix, text in texts.items():
        with replacing(out / f"ablation.{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    draw(report, out / "ablation.png")

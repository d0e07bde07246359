"""`facefact eval ablation`: short trainings that differ in one choice each, measured on people that none has seen.

OUT/<arm>/         a run of `facefact train` each; what is finished is not trained again
OUT/cache, OUT/before     shared by all arms whose settings allow it
OUT/ablation.{json,md,png}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facefact.checkpoint import content_hash, replacing
from facefact.config import load_config
from facefact.demo import BUNDLE
from facefact.evaluate.condition_gap import HeldOut, Samples, gates, measure
from facefact.evaluate.gate_pull import gate_pull
from facefact.evaluate.pictures import Progress
from facefact.face_adapter import FaceAdapter
from facefact.markdown import markdown_table
from facefact.metrics.scores import Figure, figure
from facefact.train.adapter import run as adapter_run
from facefact.train.adapter.fact import FactStage
from facefact.train.adapter.leak_meter import TIMESTEPS
from facefact.train.material.base import open_frozen
from facefact.train.material.cache import Cache
from facefact.train.material.fill import fill, fingerprint
from facefact.train.material.frozen import Frozen
from facefact.train.material.sources import open_source
from facefact.train.material.world import WorldSource
from facefact.train.settings import AdapterTraining
from facefact.types import UserError

COMPARED = ("own", "gap", "leak_attention", "leak_whole", "rank1", "outside_change")
# Settings in which arms may not differ: what is measured, and who is held out, follows from them.
COMMON = ("base", "data.source", "data.size", "data.seed", "data.validation_people", "adapter.encoder")


@dataclass(frozen=True)
class HeldOutPeople:
    """people, seed: of the world; a folder's are its data.validation_people. timesteps, noise: at which, and the seed
    of the noise."""

    people: int = 64
    seed: int = 9061
    timesteps: tuple[int, ...] = TIMESTEPS
    noise: int = 0


@dataclass(frozen=True)
class GatePull:
    """batches: how many the analysis of the closed gates averages over; 0: none is made."""

    batches: int = 8


@dataclass(frozen=True)
class Ablation:
    """base: the settings of an adapter's training, relative to the ablation's file. set: overrides for all arms. arms:
    each one's overrides. reference: the arm that the others are compared with."""

    base: str
    arms: dict[str, tuple[str, ...]]
    set: tuple[str, ...] = ()
    reference: str = "no_fair"
    held_out: HeldOutPeople = HeldOutPeople()
    gate_pull: GatePull = GatePull()


@dataclass(frozen=True)
class Plan:
    """The settings of the trainings. common: without any arm's overrides."""

    ablation: Ablation
    common: AdapterTraining
    arms: dict[str, AdapterTraining]
    out: Path


@dataclass
class Arm:
    """What was measured of one. samples: by the figure's name."""

    samples: dict[str, Samples] = field(default_factory=dict)
    gates: dict[str, Any] = field(default_factory=dict)


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
    frozen = open_frozen(plan.common.base, plan.common.adapter, bundle=BUNDLE)
    model = content_hash(frozen.unet.state_dict())
    pull = closed_gates(plan, frozen, model)
    for name, config in plan.arms.items():
        train_arm(config, out / name, before_of(config, out))
    held_out = held_out_people(plan, frozen)
    measured = {}
    for done, name in enumerate(plan.arms, 1):
        measured[name] = measured_arm(plan, name, frozen, held_out, model)
        if progress:
            progress("arms", done, len(plan.arms))
    if pictures:
        add_pictures(plan, measured, pictures, progress)
    report = report_of(plan, measured, len(held_out)) | ({"gate_pull": pull} if pull else {})
    write(report, out)
    return report


# The arms


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
    return Plan(ablation, common, arms, out)


def _at(config: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        config = getattr(config, name)
    return config


def before_of(config: AdapterTraining, out: Path) -> Path:
    """Where what is trained before the diffusion lies: one folder for all settings that give the same."""
    tree = adapter_run.decisive(adapter_run.tree_of(config))
    decides = {
        "base": tree["base"],
        "data": tree["data"],
        "seed": config.schedule.seed,
        "adapter": {name: value for name, value in tree["adapter"].items() if name != "gate"},
    }
    return out / "before" / fingerprint(decides)


def train_arm(config: AdapterTraining, folder: Path, before: Path) -> None:
    """Train, or go on, unless it is finished. UserError: the folder holds another training, or it was interrupted."""
    finished = folder / "adapter" / "README.md"  # (the card is written last)
    if finished.is_file():
        adapter_run.note_settings(config, folder)
        return
    adapter_run.train_adapter(config, folder, before=before)
    if not finished.is_file():
        raise UserError(f"{folder} was interrupted: the same command goes on")


# What is measured


def measured_arm(plan: Plan, name: str, frozen: Frozen, held_out: HeldOut, model: str) -> Arm:
    """The figures of a finished arm, measured once. model: hash of the base model."""
    adapter, where = FaceAdapter.from_pretrained(plan.out / name / "adapter"), plan.ablation.held_out

    def make() -> dict[str, list[float]]:
        found = measure(adapter, frozen, held_out, where.timesteps, seed=where.noise)
        return {key: samples.values.tolist() for key, samples in found.items()}

    decides = {"adapter": adapter.content_hash(), "model": model, "held_out": asdict(where), "data": _data(plan.common)}
    values = remembered(plan.out / name / "held_out.json", decides, make)
    return Arm({key: Samples(np.array(some), np.arange(len(some))) for key, some in values.items()}, gates(adapter))


def remembered(path: Path, decides: Mapping[str, Any], make: Callable[[], Any]) -> Any:
    """What `make` gives, as JSON values; from the file where that was made of the same."""
    key = fingerprint(decides)
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["of"] == key:
            return found["made"]
    made = make()
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"of": key, "made": made}) + "\n", encoding="utf-8")
    return made


def _data(config: AdapterTraining) -> dict[str, Any]:
    return adapter_run.decisive(adapter_run.tree_of(config))["data"]


def held_out_people(plan: Plan, frozen: Frozen) -> HeldOut:
    """Two pictures of each; all on the device of the measurement."""
    settings, data = plan.ablation.held_out, plan.common.data
    frozen.to("cuda" if torch.cuda.is_available() else "cpu")
    world = data.source == "world"
    source = WorldSource(settings.people, 2, settings.seed) if world else open_source(data)
    if world and settings.seed in {config.data.seed for config in plan.arms.values()}:
        raise UserError(f"held_out.seed={settings.seed} is that of the training's people: choose another one")
    assert data.cache is not None, "read_plan has set it"
    cache = Cache.open(fill(source, frozen, data.cache, size=data.sizes()[-1][1]))
    return HeldOut.of(cache if world else adapter_run.split_people(cache, data.validation_people)[1], frozen.device)


def closed_gates(plan: Plan, frozen: Frozen, model: str) -> dict[str, Any]:
    """`gate_pull` for the common settings at step 0, measured once; {}: not wanted. model: hash of the base model."""
    count = plan.ablation.gate_pull.batches
    if count < 1:
        return {}
    settings = adapter_run.decisive(adapter_run.tree_of(plan.common))
    decides = {"settings": settings, "model": model, "batches": count}
    return remembered(plan.out / "gate_pull.json", decides, lambda: pull_at_closed_gates(plan, frozen))


def pull_at_closed_gates(plan: Plan, frozen: Frozen) -> dict[str, Any]:
    """After what is trained before the diffusion, in fp32."""
    config = plan.common
    process = adapter_run.PartialState(cpu=not torch.cuda.is_available())
    material = adapter_run.fill_caches(config, open_source(config.data), frozen, plan.out, process)
    adapter = adapter_run.new_adapter(config, frozen)
    adapter_run.warm_up(config, adapter, material, before_of(config, plan.out))
    frozen.to(process.device)
    loss = replace(config.loss, fair=0.0, identity=0.0)
    live = frozen.text_encoders[0] if config.data.text == "live" else None
    stage = FactStage(adapter, frozen.unet, frozen.scheduler, loss, text_encoder=live)
    try:
        batches = adapter_run.step_batches(config, material, frozen, process)

        def here(number: int) -> Any:
            return ({name: value.to(process.device) for name, value in one.items()} for one in batches(number))

        return gate_pull(stage, here, count=plan.ablation.gate_pull.batches)
    finally:
        adapter.detach()


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
    for name, arm in measured.items():
        adapter = FaceAdapter.from_pretrained(plan.out / name / "adapter")
        tokens = person_tokens(adapter, cases.references, judges.detector)
        made = painter.adapted(cases.cases, adapter, tokens, title=name)
        found = {
            "rank1": retrieved(judges.embed(made) @ known.T, cases.own),
            "outside_change": change_outside(made, base, faces | judges.faces(made)),
        }
        arm.samples |= {key: Samples(values, cases.own) for key, values in found.items()}


# What is said


def report_of(plan: Plan, measured: Mapping[str, Arm], people: int) -> dict[str, Any]:
    """Figures of each arm, and its differences from the reference, person by person. All JSON values."""
    reference = measured.get(plan.ablation.reference)
    arms = {}
    for name, arm in measured.items():
        arms[name] = {
            "overrides": list(plan.ablation.arms[name]),
            "figures": {key: as_json(figure(*samples)) for key, samples in arm.samples.items()},
            "gates": arm.gates,
        }
        if reference is not None and arm is not reference:
            pairs = {key: (arm.samples[key], reference.samples[key]) for key in COMPARED if key in arm.samples}
            arms[name]["difference"] = {
                key: as_json(figure(own.values - other.values, own.people)) for key, (own, other) in pairs.items()
            }
    schedule, where = plan.common.schedule, plan.ablation.held_out
    return {
        "people": people,
        "timesteps": list(where.timesteps),
        "steps": schedule.steps,
        "batch": schedule.batch,
        "reference": plan.ablation.reference,
        "arms": arms,
    }


def as_json(one: Figure) -> dict[str, float | int]:
    """(Losses differ in the fourth digit: `Figure.as_json` keeps too few.)"""
    return {name: value if isinstance(value, int) else float(f"{value:.5g}") for name, value in asdict(one).items()}


COLUMNS = {  # figure -> heading, factor, digits
    "own": ("face loss, own", 1, 4),
    "gap": ("gap other - own, x1000", 1000, 2),
    "gain": ("gain on base, x1000", 1000, 2),
    "leak_attention": ("leak attention, %", 100, 2),
    "leak_whole": ("leak whole, %", 100, 2),
    "rank1": ("rank-1", 1, 2),
    "outside_change": ("outside change", 1, 2),
}


def markdown(report: Mapping[str, Any]) -> str:
    """The tables: value [95 % interval over people]; in `vs` columns the paired difference from the reference."""
    arms = report["arms"]
    shown = [key for key in COLUMNS if any(key in arm["figures"] for arm in arms.values())]
    versus = [
        key for key in ("gap", "leak_whole", "rank1") if any(key in a.get("difference", {}) for a in arms.values())
    ]
    heads = [COLUMNS[key][0] for key in shown] + ["gates: mean", "closed"]
    heads += [f"{COLUMNS[key][0]}, vs {report['reference']}" for key in versus]
    rows = [
        [name]
        + [_cell(arm["figures"].get(key), key) for key in shown]
        + [f"{arm['gates']['mean']:.3f}", f"{arm['gates']['closed']} of {arm['gates']['of']}"]
        + [_cell(arm.get("difference", {}).get(key), key, sign="+") for key in versus]
        for name, arm in arms.items()
    ]
    about = (
        f"{report['steps']} steps of {report['batch']} pictures; {report['people']} unseen people, timesteps "
        f"{', '.join(map(str, report['timesteps']))}; 95 % intervals over people."
    )
    parts = [about, markdown_table(["arm", *heads], rows)]
    if "gate_pull" in report:
        parts.append(_pull_text(report["gate_pull"]))
    return "\n\n".join(parts) + "\n"


def _cell(one: Mapping[str, float] | None, key: str, sign: str = "") -> str:
    if one is None:
        return ""
    _, factor, digits = COLUMNS[key]
    value, low, high = (f"{factor * one[end]:{sign}.{digits}f}" for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _pull_text(pull: Mapping[str, Any]) -> str:
    heads = ["layer", "gate", "d diffusion: mean", "std", "mean / std", "d FAIR", "lambda* (mean)", "(one batch)"]
    keys = ("diffusion_mean", "diffusion_std", "snr", "fair", "lambda_mean", "lambda_batch")
    rows = [
        [row["layer"], row["gate"], *("-" if row[key] is None else f"{row[key]:.3g}" for key in keys)]
        for row in pull["gates"]
    ]
    held = ", ".join(f"{strength}: {one['mean']} ({one['batch']})" for strength, one in pull["held"].items())
    about = (
        f"What pulls at the closed gates before step 0 ({pull['batches']} batches of {pull['batch']}; FAIR on "
        f"the increment `{pull['increment']}`). Of {pull['felt']} gates that FAIR reaches, a lambda holds closed on "
        f"average (and in a typical batch): {held}. Median lambda* {pull['median']['lambda_mean']:.3g} "
        f"({pull['median']['lambda_batch']:.3g})."
    )
    return f"{about}\n\n{markdown_table(heads, rows)}"


def write(report: Mapping[str, Any], out: Path) -> None:
    """OUT/ablation.json, .md, and (with matplotlib) .png."""
    texts = {"json": json.dumps(report, indent=2) + "\n", "md": markdown(report)}
    for suffix, text in texts.items():
        with replacing(out / f"ablation.{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    draw(report, out / "ablation.png")


def draw(report: Mapping[str, Any], path: Path) -> bool:
    """One panel a figure, one line an arm, with its interval; the reference dashed. False: without matplotlib."""
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        return False
    arms = report["arms"]
    names = list(arms)
    first = arms[names[0]]["figures"]
    keys = [key for key in ("gap", "gain", "leak_whole", "rank1", "outside_change") if key in first]
    canvas = Canvas(figsize=(2 + 2.4 * (len(keys) + 1), 1.2 + 0.32 * len(names)), dpi=110, layout="constrained")
    axes = canvas.subplots(1, len(keys) + 1, sharey=True)
    places = np.arange(len(names))
    for axis, key in zip(axes, keys, strict=False):
        title, factor, _ = COLUMNS[key]
        ends = np.array([[arms[name]["figures"][key][end] for end in ("value", "low", "high")] for name in names])
        value, low, high = factor * ends.T
        axis.errorbar(value, places, xerr=np.maximum([value - low, high - value], 0), fmt="o", capsize=2)
        if report["reference"] in names:
            axis.axvline(value[names.index(report["reference"])], linestyle="--", linewidth=0.8, color="grey")
        axis.set_title(title, fontsize=9)
    axes[-1].barh(places, [arms[name]["gates"]["mean"] for name in names], height=0.6)
    axes[-1].set_title("gates, mean |tanh alpha|", fontsize=9)
    axes[0].set_yticks(places, names, fontsize=8)
    axes[0].invert_yaxis()
    for axis in axes:
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    with replacing(path) as temporary:
        canvas.savefig(temporary, format="png")
    return True

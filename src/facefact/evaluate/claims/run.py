"""`facefact eval claims`: the paper's claims against peers that are trained and run alike.

OUT/<method>/seed_<n>/    a run of `facefact train` each; what is finished is not trained again
OUT/<method>/seed_<n>/judged_<scale>.json    what the judges say of its pictures; not made again either
OUT/<method>/seed_<n>/causal.json    its effects in the causal benchmark (`measured.causal` people)
OUT/<method>/seed_<n>/pictures.png    of the first people, for the sheet
OUT/claims.{json,md,png}, OUT/causal.{json,png}, OUT/sheet.png

Same frozen base model, data, pictures seen, seeds, sampling and noise; differences are taken picture by picture.
Intervals are over people and training seeds, crossed (`metrics.resampling`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facefact.checkpoint import replacing
from facefact.evaluate.ablation import train_run
from facefact.evaluate.ablation_plan import warm_up_folder_of
from facefact.evaluate.causal.page import draw as draw_causal
from facefact.evaluate.causal.run import report as causal_report
from facefact.evaluate.claims.bench import Bench, Said
from facefact.evaluate.claims.causal import Causal, causal_difference, causal_figures, causal_of
from facefact.evaluate.claims.page import markdown
from facefact.evaluate.claims.plan import CAUSAL, FIGURES, LESS, Claim, Plan, Run, read_plan
from facefact.evaluate.claims.plot import draw
from facefact.evaluate.claims.sheet import sheet_of
from facefact.evaluate.pictures import Progress
from facefact.evaluate.world import Samples
from facefact.metrics.distributions import kid
from facefact.metrics.resampling import Pictures, by_third, pooled
from facefact.metrics.scores import Figure
from facefact.train.peers.decoupled import learned_weights
from facefact.types import UserError


@dataclass
class Row:
    """A method: by scale and figure its samples, at the table's scale all its seeds one after the other, at others its
    first one's; and what it cost. said: of the table's scale, one of each seed."""

    samples: dict[float, Samples] = field(default_factory=dict)
    runs: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    seeds: list[int] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    pictures_seen: int = 0
    learned_weights: int = 0
    hours: float = 0.0


@dataclass(frozen=True)
class Cases:
    """What the figures of all methods share. own: (cases,) whose picture. tone: (cases,) that person's skin tone.
    base: (cases, d) features of the base model's pictures. true_spread: (people,), see `Bench`."""

    own: np.ndarray
    tone: np.ndarray
    base: np.ndarray
    true_spread: np.ndarray


def run_claims(
    path: Path,
    out: Path,
    *,
    judges: Path,
    only: Sequence[str] = (),
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train what is not trained yet, judge, and write OUT/claims.*, OUT/causal.* and OUT/sheet.png; returns the report
    as JSON values.
    UserError: settings that are wrong, or methods that cannot be compared, before anything is computed."""
    plan = read_plan(path, out, only)
    bases = {run.config.base.source for run in plan.runs if run.config is not None}
    if bases - {"bundle"}:
        raise UserError(f"the judges know the embedded model alone: base.source must be bundle, not {sorted(bases)[0]}")
    for run in plan.runs:
        if run.config is not None:
            began = time.monotonic()
            train_run(run.config, run.training, warm_up_folder_of(run.config, out))
            note_time(run.training, time.monotonic() - began)
    bench = Bench.open(plan.claims.measured, judges, device, progress)
    rows: dict[str, Row] = {}
    for run in plan.runs:
        add(rows.setdefault(run.method, Row()), run, plan, bench)
    causal = causal_of(plan, bench) if plan.claims.measured.causal else None
    report = report_of(plan, rows, cases_of(bench), causal)
    write(report, causal_report(causal) if causal else None, out)
    with replacing(out / "sheet.png") as temporary:
        sheet_of(plan, bench).quantize().save(temporary, format="png")  # 256 colours: a third of the bytes
    return report


def note_time(folder: Path, seconds: float) -> None:
    """Hours of training, summed over interruptions: OUT/<method>/seed_<n>/hours.json."""
    path = folder / "hours.json"
    before = json.loads(path.read_text(encoding="utf-8"))["seconds"] if path.is_file() else 0.0
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"seconds": round(before + seconds, 1)}) + "\n", encoding="utf-8")


def add(row: Row, run: Run, plan: Plan, bench: Bench) -> None:
    """What is said of one run, and of a method's first training at every scale."""
    method, asked = plan.claims.methods[run.method], plan.claims.measured
    adapter = bench.adapter_of(run, method)
    curve = adapter is not None and not row.seeds
    for scale in asked.scales if curve else (asked.scale,):
        found = bench.said(run, method, adapter, scale)
        known = row.samples.setdefault(scale, {})
        for name, values in found.samples.items():
            known[name] = np.concatenate([known[name], values]) if name in known else values
        if scale == asked.scale:
            row.said.append(found)
    row.runs = np.concatenate([row.runs, np.full(len(bench.cases.cases), run.seed)])
    row.seeds.append(run.seed)
    if adapter is not None:
        row.pictures_seen, row.learned_weights = method.pictures_seen, learned_weights(adapter)
    if run.config is not None:
        row.pictures_seen = run.config.schedule.steps * run.config.schedule.batch
    if run.training == run.folder and run.config is not None:  # (a training counts once)
        row.hours += json.loads((run.training / "hours.json").read_text(encoding="utf-8"))["seconds"] / 3600


# The report


def cases_of(bench: Bench) -> Cases:
    plan = bench.cases
    tone = np.array([plan.people[own]["skin_tone"] for own in plan.own])
    return Cases(plan.own, tone, bench.seen(bench.base), bench.true_spread)


def report_of(plan: Plan, rows: Mapping[str, Row], cases: Cases, causal: Causal | None = None) -> dict[str, Any]:
    """All JSON values: `methods` with their figures at the table's scale, by third of skin tone, their curves and maps
    of change; and `claims`."""
    asked = plan.claims.measured
    methods = {}
    for name, row in rows.items():
        mine, of = row.samples[asked.scale], Pictures(np.tile(cases.own, len(row.seeds)), trainings=row.runs)
        first = slice(len(cases.own))  # of a curve all points are of one training
        tone = np.tile(cases.tone, len(row.seeds))
        curve = {
            f"{scale:g}": of_pictures({key: values[first] for key, values in samples.items()}, of.at(first))
            for scale, samples in row.samples.items()
        }
        fairness = {key: as_json(by_third(mine[key], tone, of)) for key in FIGURES if key in mine and seen(mine[key])}
        methods[name] = {
            "seeds": row.seeds,
            "pictures_seen": row.pictures_seen,
            "learned_weights": row.learned_weights,
            "hours": round(row.hours, 3),
            "note": plan.claims.methods[name].note,
            "figures": of_pictures(mine, of)
            | as_json(of_sets(row, cases) | (causal_figures(causal, name) if causal else {})),
            "fairness": fairness,
            "scales": curve,
            "change": np.round(np.mean([one.change for one in row.said], axis=0), 2).tolist(),
        }
    claims = [judged_claim(claim, rows, cases, asked.scale, causal) for claim in plan.claims.claims]
    about = {name: getattr(asked, name) for name in ("people", "seed", "steps", "scale", "causal")}
    hours = round(sum(row.hours for row in rows.values()), 2)
    return {"version": 2, "measured": about, "hours": hours, "methods": methods, "claims": claims}


def of_pictures(samples: Samples, of: Pictures) -> dict[str, Any]:
    """The figures that have a sample."""
    return as_json({name: pooled(values, of) for name, values in samples.items() if seen(values)})


def seen(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())


def as_json(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {name: one.as_json() for name, one in figures.items()}


def of_sets(row: Row, cases: Cases) -> dict[str, Figure]:
    """What is of several pictures together: diversity, and both distances to the base model's pictures. Every second
    picture of a method against the base model's other ones, as in `suite.preservation`."""
    spread = np.concatenate([one.spread for one in row.said])
    of = Pictures(*spread_places(row.said, row.seeds))
    found = {}
    if seen(spread):
        found["diversity"] = pooled(spread, of)
        found["diversity_true"] = pooled(spread, of, over=np.tile(cases.true_spread, len(row.said)))
    even = np.arange(len(cases.own)) % 2 == 0
    people, seeds = np.tile(cases.own[even], len(row.said)), np.repeat(row.seeds, int(even.sum()))
    for name, parts in (("kid", [one.features for one in row.said]), ("kid_nobody", [one.nobody for one in row.said])):
        if all(len(part) for part in parts):
            mine = np.concatenate([part[even] for part in parts])
            found[name] = kid(mine, cases.base[~even], people, cases.own[~even], seeds)
    return found


def spread_places(said: Sequence[Said], seeds: Sequence[int]) -> tuple[np.ndarray, None, np.ndarray]:
    """People, galleries and trainings of all spreads, one after the other."""
    sizes = [len(one.spread) for one in said]
    return np.concatenate([np.arange(n) for n in sizes]), None, np.repeat(seeds, sizes)


def judged_claim(
    claim: Claim, rows: Mapping[str, Row], cases: Cases, scale: float, causal: Causal | None = None
) -> dict[str, Any]:
    """Whether the interval of the paired difference lies on the claimed side of `by`."""
    about: dict[str, Any] = {"claim": claim.claim, "figure": claim.figure, "better": claim.better, "than": claim.than}
    if claim.better not in rows or claim.than not in rows:
        return about | {"holds": "undecided", "why": "a method that it rests on was not made"}
    seeds = len(in_common(rows[claim.better], rows[claim.than]))
    if causal and claim.figure in CAUSAL:
        found, seeds = causal_difference(causal, claim.better, claim.than, claim.figure)
    else:
        found = difference(rows[claim.better], rows[claim.than], claim.figure, cases, scale)
    gained = -found.value if claim.figure in LESS else found.value
    low, high = (-found.high, -found.low) if claim.figure in LESS else (found.low, found.high)
    holds: bool | str = True if low > claim.by else False if high < claim.by else "undecided"
    of = "people" if claim.figure == "diversity" or claim.figure in CAUSAL else "pictures"
    why = f"{gained:+.3f} [{low:+.3f}, {high:+.3f}] paired over {found.n} {of}, {seeds} training seed(s)"
    return about | {"holds": holds, "difference": found.as_json(), "why": why}


def in_common(better: Row, than: Row) -> list[int]:
    return [seed for seed in better.seeds if seed in than.seeds]


def difference(better: Row, than: Row, name: str, cases: Cases, scale: float) -> Figure:
    """Of the same pictures, with the training seeds that both have (what needs no training is the same for each)."""
    seeds = in_common(better, than)
    if name == "diversity":
        mine, theirs = ([row.said[row.seeds.index(seed)] for seed in seeds] for row in (better, than))
        apart = [one.spread - other.spread for one, other in zip(mine, theirs, strict=True)]
        return pooled(np.concatenate(apart), Pictures(*spread_places(mine, seeds)))
    more, less = (row.samples[scale][name][np.isin(row.runs, seeds)] for row in (better, than))
    of = Pictures(np.tile(cases.own, len(seeds)), trainings=better.runs[np.isin(better.runs, seeds)])
    return pooled(more - less, of)


def write(report: Mapping[str, Any], causal: Mapping[str, Any] | None, out: Path) -> None:
    """OUT/claims.json, .md, and (with matplotlib) .png; the same of the causal benchmark, where it was asked for."""
    texts = {"claims.json": json.dumps(report, indent=1) + "\n", "claims.md": markdown(report)}
    if causal is not None:
        texts["causal.json"] = json.dumps(causal) + "\n"
    for name, text in texts.items():
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if draw(report, out / "claims.png") and causal is not None:
        draw_causal(causal, out / "causal.png")

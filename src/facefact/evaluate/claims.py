"""`facefact eval claims`: the paper's claims against peers that are trained and run alike.

OUT/<method>/seed_<n>/    a run of `facefact train` each; what is finished is not trained again
OUT/<method>/seed_<n>/judged_<scale>.json    what the judges say of its pictures; not made again either
OUT/claims.{json,md,png}

Same frozen base model, data, pictures seen, seeds, sampling and noise; differences are taken picture by picture.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facefact.checkpoint import replacing
from facefact.demo import BUNDLE
from facefact.evaluate.ablation import remembered, train_run
from facefact.evaluate.ablation_plan import warm_up_folder_of
from facefact.evaluate.claims_page import draw, markdown
from facefact.evaluate.claims_plan import Claim, Method, Plan, Run, read_plan
from facefact.evaluate.face_error import other_errors
from facefact.evaluate.judges import Judges
from facefact.evaluate.naive import from_the_reference
from facefact.evaluate.pictures import Painter, Progress, Sampling
from facefact.evaluate.protocol import Protocol, protocol
from facefact.evaluate.world import CHOICES, LEAKS, Samples, judging
from facefact.face_adapter import FaceAdapter
from facefact.generate import model_hash
from facefact.metrics.scores import Figure, change_outside, figure
from facefact.train.adapter.opened import EMBEDDED
from facefact.train.peers.decoupled import learned_weights, open_adapter
from facefact.types import FaceTokens, UserError
from facefact.world import held_out_seed, look, render

# What is compared, and what a reader should know of each.
FIGURES = {
    "rank1": "retrieved first among the references of all people",
    "cos_own": "similarity to the own reference, by an independent recogniser",
    "face_error": "aligned face against the true render: 0 the autoencoder's, 1 another person's",
    "attributes": "what the prompt asks for, over ten factors",
    "expression": "the expression that was asked for",
    "pose": "the pose that was asked for",
    "leakage": "the reference's glasses, hat, hair, pose, expression, light where something else was asked for",
    "outside_change": "change outside the face against the base model's picture, of 255",
    "no_face": "pictures in which no face is found",
}
LESS = ("face_error", "leakage", "outside_change", "no_face")  # of these less is better


@dataclass
class Row:
    """A method's samples by scale and figure, all its seeds one after the other, and what it cost."""

    samples: dict[float, Samples] = field(default_factory=dict)
    runs: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    seeds: list[int] = field(default_factory=list)
    pictures_seen: int = 0
    learned_weights: int = 0
    hours: float = 0.0


def run_claims(
    path: Path,
    out: Path,
    *,
    judges: Path,
    only: Sequence[str] = (),
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train what is not trained yet, judge, and write OUT/claims.*; returns the report as JSON values. UserError:
    settings that are wrong, or methods that cannot be compared, before anything is computed."""
    plan = read_plan(path, out, only)
    bases = {run.config.base.source for run in plan.runs if run.config is not None}
    if bases - {"bundle"}:
        raise UserError(f"the judges know the embedded model alone: base.source must be bundle, not {sorted(bases)[0]}")
    for run in plan.runs:
        if run.config is not None:
            began = time.monotonic()
            train_run(run.config, run.training, warm_up_folder_of(run.config, out))
            note_time(run.training, time.monotonic() - began)
    bench = Bench.open(plan, judges, device, progress)
    rows: dict[str, Row] = {}
    for run in plan.runs:
        bench.add(rows.setdefault(run.method, Row()), run)
    report = report_of(plan, rows, bench.cases)
    write(report, out)
    return report


def note_time(folder: Path, seconds: float) -> None:
    """Hours of training, summed over interruptions: OUT/<method>/seed_<n>/hours.json."""
    path = folder / "hours.json"
    before = json.loads(path.read_text(encoding="utf-8"))["seconds"] if path.is_file() else 0.0
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"seconds": round(before + seconds, 1)}) + "\n", encoding="utf-8")


# Pictures and what the judges say of them


@dataclass(frozen=True)
class Bench:
    """One protocol for all methods. judged: pictures of its cases -> samples. base: what the base model makes."""

    plan: Plan
    cases: Protocol
    judges: Judges
    judged: Callable[[np.ndarray], Samples]
    painter: Callable[[Sampling], Painter]
    base: np.ndarray
    limits: Mapping[str, np.ndarray]
    about: Mapping[str, Any]

    @classmethod
    def open(cls, plan: Plan, judges_dir: Path, device: str | torch.device, progress: Progress | None) -> Bench:
        asked = plan.claims.measured
        cases = protocol(asked.seed, people=asked.people, per_person=1)
        judges = Judges.open(judges_dir, BUNDLE)
        judged = judging(cases, judges, None)
        opened = Painter.open(BUNDLE, Sampling(), device=device, progress=progress)

        def painter(sampling: Sampling) -> Painter:
            return Painter(opened.pipe, sampling, opened.progress)

        sampling = Sampling(steps=asked.steps, guidance_scale=asked.guidance_scale)
        base = painter(sampling).base(cases.cases)
        real = np.stack([render(cases.people[case.own], case.wanted).image for case in cases.cases])
        least = judged(opened.reconstruct(real))["face_error"]
        limits = {"least": least, "other": other_errors(cases.cases, cases.people)}
        models = {"base": model_hash(BUNDLE), "judges": model_hash(judges_dir / "recogniser")}
        about = {"models": models, "people": asked.people, "seed": asked.seed, "steps": asked.steps}
        return cls(plan, cases, judges, judged, painter, base, limits, about | {"guidance": asked.guidance_scale})

    def add(self, row: Row, run: Run) -> None:
        """The samples of one run at every scale, judged once."""
        method = self.plan.claims.methods[run.method]
        adapter = self.adapter_of(run, method)
        scales = self.plan.claims.measured.scales if adapter is not None else (self.plan.claims.measured.scale,)
        for scale in scales:
            found = self.samples(run, method, adapter, scale)
            known = row.samples.setdefault(scale, {})
            for name, values in found.items():
                known[name] = np.concatenate([known[name], values]) if name in known else values
        row.runs = np.concatenate([row.runs, np.full(len(self.cases.cases), run.seed)])
        row.seeds.append(run.seed)
        if adapter is not None:
            row.pictures_seen, row.learned_weights = method.pictures_seen, learned_weights(adapter)
        if run.config is not None:
            row.pictures_seen = run.config.schedule.steps * run.config.schedule.batch
        if run.training == run.folder and run.config is not None:  # (a training counts once)
            row.hours += json.loads((run.training / "hours.json").read_text(encoding="utf-8"))["seconds"] / 3600

    def adapter_of(self, run: Run, method: Method) -> FaceAdapter | None:
        """The trained one, the one that is there, or none."""
        if run.config is not None:
            return open_adapter(run.training / "adapter")
        return open_adapter(EMBEDDED.get(method.adapter, method.adapter)) if method.way == "there" else None

    def samples(self, run: Run, method: Method, adapter: FaceAdapter | None, scale: float) -> Samples:
        decides: dict[str, Any] = {**self.about, "way": method.way, "scale": scale, "photos": method.photos}
        if method.way == "image_to_image":
            decides["strength"] = method.strength
        if adapter is not None:
            decides["adapter"] = adapter.content_hash()

        def make() -> dict[str, list[float]]:
            pictures = self.pictures(method, adapter, scale, title=f"{run.method}, seed {run.seed}, scale {scale:g}")
            return {name: values.tolist() for name, values in self.figures_of(pictures).items()}

        found = remembered(run.folder / f"judged_{scale:g}.json", decides, make)
        return {name: np.array(values, np.float64) for name, values in found.items()}

    def pictures(self, method: Method, adapter: FaceAdapter | None, scale: float, *, title: str) -> np.ndarray:
        """(cases, h, w, 3) uint8."""
        asked = self.plan.claims.measured
        painter = self.painter(Sampling(steps=asked.steps, guidance_scale=asked.guidance_scale, scale=scale))
        if method.way == "image_to_image":
            return from_the_reference(painter, self.cases, strength=method.strength, title=title)
        if adapter is None:
            return self.base
        tokens = tokens_of(adapter, self.cases, self.judges, photos=method.photos)
        return painter.adapted(self.cases.cases, adapter, tokens, title=title)

    def figures_of(self, pictures: np.ndarray) -> Samples:
        """`FIGURES` of each picture, (cases,) each; NaN where one asks nothing."""
        judged = self.judged(pictures)
        inside = self.judges.faces(self.base) | self.judges.faces(pictures)
        blank = np.array([not self.judges.view(picture).any() for picture in pictures])
        error = (judged["face_error"] - self.limits["least"]) / (self.limits["other"] - self.limits["least"]).mean()
        with np.errstate(invalid="ignore"):
            leaks = _mean([judged[f"leak_{name}"] for name in LEAKS])
        return {
            "rank1": judged["rank1"].astype(float),
            "cos_own": judged["cos_own"],
            "face_error": error,
            "attributes": _mean([judged[name] for name in CHOICES]),
            "expression": judged["expression"],
            "pose": judged["pose"],
            "leakage": leaks,
            "outside_change": change_outside(pictures, self.base, inside),
            "no_face": blank.astype(float),
        }


def _mean(parts: Sequence[np.ndarray]) -> np.ndarray:
    """(n,): of those that are no NaN; NaN where all are."""
    stacked = np.stack(parts)
    counts = (~np.isnan(stacked)).sum(0)
    return np.where(counts > 0, np.nansum(stacked, 0) / np.maximum(counts, 1), np.nan)


def tokens_of(adapter: FaceAdapter, cases: Protocol, judges: Judges, *, photos: int) -> FaceTokens:
    """One row for each person: of the reference, and of `photos` - 1 more pictures of them in other looks."""
    rows = []
    for own, reference in enumerate(cases.references):
        rng = np.random.default_rng((own, 4111))
        more = [render(cases.people[own], _bare_eyes(rng)).image for _ in range(photos - 1)]
        rows.append(adapter.encode([reference.image, *more], detector=judges.detector))
    return FaceTokens(torch.cat([one.face for one in rows]), torch.cat([one.null for one in rows]))


def _bare_eyes(rng: np.random.Generator) -> Any:
    """A look without dark glasses, as those of the references."""
    drawn = look(held_out_seed(rng))
    while drawn["glasses"] == "sun":
        drawn = look(held_out_seed(rng))
    return drawn


# The report


def report_of(plan: Plan, rows: Mapping[str, Row], cases: Protocol) -> dict[str, Any]:
    """All JSON values: `methods` with their figures at the table's scale and their curves, and `claims`."""
    asked = plan.claims.measured
    methods = {}
    for name, row in rows.items():
        people = np.tile(cases.own, len(row.seeds))
        curve = {
            f"{scale:g}": {key: figure(values, people, row.runs).as_json() for key, values in samples.items()}
            for scale, samples in row.samples.items()
        }
        methods[name] = {
            "seeds": row.seeds,
            "pictures_seen": row.pictures_seen,
            "learned_weights": row.learned_weights,
            "hours": round(row.hours, 3),
            "note": plan.claims.methods[name].note,
            "figures": curve[f"{asked.scale:g}"],
            "scales": curve,
        }
    claims = [judged_claim(claim, rows, cases, asked.scale) for claim in plan.claims.claims]
    about = {"people": asked.people, "seed": asked.seed, "steps": asked.steps, "scale": asked.scale}
    hours = round(sum(row.hours for row in rows.values()), 2)
    return {"version": 1, "measured": about, "hours": hours, "methods": methods, "claims": claims}


def judged_claim(claim: Claim, rows: Mapping[str, Row], cases: Protocol, scale: float) -> dict[str, Any]:
    """Whether the interval of the paired difference lies on the claimed side of `by`."""
    about: dict[str, Any] = {"claim": claim.claim, "figure": claim.figure, "better": claim.better, "than": claim.than}
    if claim.better not in rows or claim.than not in rows:
        return about | {"holds": "undecided", "why": "a method that it rests on was not made"}
    if claim.figure not in FIGURES:
        raise UserError(f"the claim {claim.claim!r} rests on {claim.figure}; there are {', '.join(FIGURES)}")
    found = difference(rows[claim.better], rows[claim.than], claim.figure, cases, scale)
    gained = -found.value if claim.figure in LESS else found.value
    low, high = (-found.high, -found.low) if claim.figure in LESS else (found.low, found.high)
    holds: bool | str = True if low > claim.by else False if high < claim.by else "undecided"
    seeds = len(rows[claim.better].seeds)
    why = f"{gained:+.3f} [{low:+.3f}, {high:+.3f}] paired over {found.n} pictures, {seeds} training seed(s)"
    return about | {"holds": holds, "difference": found.as_json(), "why": why}


def difference(better: Row, than: Row, name: str, cases: Protocol, scale: float) -> Figure:
    """Of the same pictures with training seeds in the same order (what needs no training is the same for each)."""
    if better.seeds != than.seeds:
        raise UserError("methods of different training seeds are not compared")
    values = better.samples[scale][name] - than.samples[scale][name]
    return figure(values, np.tile(cases.own, len(better.seeds)), better.runs)


def write(report: Mapping[str, Any], out: Path) -> None:
    """OUT/claims.json, .md, and (with matplotlib) .png."""
    texts = {"json": json.dumps(report, indent=2) + "\n", "md": markdown(report)}
    for suffix, text in texts.items():
        with replacing(out / f"claims.{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    draw(report, out / "claims.png")

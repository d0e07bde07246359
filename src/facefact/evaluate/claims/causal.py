"""The causal benchmark on the methods of `facefact eval claims`: a matrix each, over its trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from facefact.evaluate.ablation import remembered
from facefact.evaluate.causal.generators import Adapted, Generator, Pipeline, Request, from_picture, sampled
from facefact.evaluate.causal.reading import Reader
from facefact.evaluate.causal.run import Measured as Causal
from facefact.evaluate.causal.run import Method as Effects
from facefact.evaluate.causal.run import Plan as CausalPlan
from facefact.evaluate.causal.run import effects_of, faceless, measure, shared
from facefact.evaluate.claims.bench import RENDERS, Bench
from facefact.evaluate.claims.page import said
from facefact.evaluate.claims.plan import CAUSAL, Method, Plan, Run
from facefact.evaluate.pictures import Sampling
from facefact.face_adapter import FaceAdapter
from facefact.metrics.scores import Figure


def causal_of(plan: Plan, bench: Bench) -> Causal:
    """Methods by their names in the plan. What was measured is remembered beside each training."""
    asked = plan.claims.measured
    causal, reader = CausalPlan.of(asked.seed, asked.causal), Reader.fit(bench.judges, people=RENDERS)
    found = measure(causal, (), reader, about={"sampling": asdict(sampling_of(bench)), "fitted_on": RENDERS})
    names = [name for name, method in plan.claims.methods.items() if method.photos == 1]
    names.sort(key=lambda name: plan.claims.methods[name].way in ("base", "image_to_image"))  # less than an adapter
    methods = []
    for name in names:
        of = asked.causal_seeds or plan.claims.seeds
        if runs := [run for run in plan.runs if run.method == name and run.seed in of]:
            methods.append(effects(runs, plan.claims.methods[name], bench, causal, reader))
    return Causal(causal, reader.scores, found.world, tuple(methods), found.about)


def effects(runs: Sequence[Run], method: Method, bench: Bench, causal: CausalPlan, reader: Reader) -> Effects:
    """Of all its trainings; of what needs none, once."""
    name = said(runs[0].method)
    if method.way != "trained":
        values, without = effects_of_run(runs[0], method, bench, causal, reader)
        return Effects(name, values, without)
    found = [effects_of_run(run, method, bench, causal, reader) for run in runs]
    values = np.stack([one for one, _ in found])
    return Effects(name, values, float(np.mean([n for _, n in found])), trainings=tuple(run.seed for run in runs))


def effects_of_run(
    run: Run, method: Method, bench: Bench, causal: CausalPlan, reader: Reader
) -> tuple[np.ndarray, float]:
    """(people, causes, factors), and the share of pictures without a face."""
    adapter = bench.adapter_of(run, method)
    scale = bench.asked.scale

    def make() -> dict[str, Any]:
        generator = generator_of(run.method, method, adapter, bench)
        readings = []
        for i in range(len(causal.subjects)):
            requests: Sequence[Request] = causal.requests(i)
            readings.append(reader.read(list(generator(requests))))
            bench.opened.progress(f"causal, {run.method}, seed {run.seed}", i + 1, len(causal.subjects))
        return {"effects": effects_of(readings, causal).round(5).tolist(), "faceless": faceless(readings)}

    about = (
        dict(bench.about) | bench.decided_by(method, adapter, scale) | {"causal": bench.asked.causal, "fit": RENDERS}
    )
    found = remembered(run.folder / "causal.json", about, make)
    return np.array(found["effects"], np.float64), found["faceless"]


def causal_figures(found: Causal, method: str) -> dict[str, Figure]:
    """The figures of `CAUSAL`; none of a method that was not measured."""
    return {
        key: one for of in found.methods if of.name == said(method) for key, one in named(found.summary(of)).items()
    }


def causal_difference(found: Causal, better: str, than: str, figure: str) -> tuple[Figure, int]:
    """Paired, of the trainings that both have; and how many these are."""
    one, other = (next(m for m in found.methods if m.name == said(name)) for name in (better, than))
    return named(found.less(one, other))[figure], max(len(shared(one, other)), 1)


def named(summary: Mapping[str, Figure]) -> dict[str, Figure]:
    return {f"causal_{name}": one for name, one in summary.items() if f"causal_{name}" in CAUSAL}


def sampling_of(bench: Bench) -> Sampling:
    asked = bench.asked
    return asked.sampling(asked.scale)


def generator_of(name: str, method: Method, adapter: FaceAdapter | None, bench: Bench) -> Generator:
    pipe, sampling = bench.opened.pipe, sampling_of(bench)
    if method.way == "image_to_image":
        return from_picture(pipe, sampling, strength=method.strength, name=name)
    if adapter is None:
        return Pipeline(name=name, pipe=pipe, arguments=sampled(sampling), batch=sampling.batch)
    return Adapted(name=name, pipe=pipe, adapter=adapter, detector=bench.judges.detector, sampling=sampling)

"""The causal benchmark on the methods of `facefact eval claims`: a matrix each, of its first training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from facefact.evaluate.ablation import remembered
from facefact.evaluate.causal.generators import Adapted, Generator, Pipeline, Request, from_picture, sampled
from facefact.evaluate.causal.reading import Reader
from facefact.evaluate.causal.run import Measured, effects_of, faceless, measure, report
from facefact.evaluate.causal.run import Method as Effects
from facefact.evaluate.causal.run import Plan as CausalPlan
from facefact.evaluate.claims_bench import RENDERS, Bench
from facefact.evaluate.claims_plan import Method, Plan, Run
from facefact.evaluate.pictures import Sampling
from facefact.face_adapter import FaceAdapter


def causal_of(plan: Plan, bench: Bench) -> dict[str, Any]:
    """As `causal.run.report`, methods by their names in the plan. What was measured is remembered beside a training."""
    asked = plan.claims.measured
    causal, reader = CausalPlan.of(asked.seed, asked.causal), Reader.fit(bench.judges, people=RENDERS)
    found = measure(causal, (), reader, about={"sampling": asdict(sampling_of(bench)), "fitted_on": RENDERS})
    first = {run.method: run for run in reversed(plan.runs)}  # (of equal keys the last one stays)
    runs = [(first[name], method) for name, method in plan.claims.methods.items() if name in first]
    runs.sort(key=lambda pair: pair[1].way in ("base", "image_to_image"))  # others are less than an adapter
    methods = [effects(run, method, bench, causal, reader) for run, method in runs if method.photos == 1]
    return report(Measured(causal, reader.scores, found.world, tuple(methods), found.about))


def effects(run: Run, method: Method, bench: Bench, causal: CausalPlan, reader: Reader) -> Effects:
    adapter = bench.adapter_of(run, method)
    scale = bench.asked.scale

    def make() -> dict[str, Any]:
        generator = generator_of(run.method, method, adapter, bench)
        readings = []
        for i in range(len(causal.subjects)):
            requests: Sequence[Request] = causal.requests(i)
            readings.append(reader.read(list(generator(requests))))
            bench.opened.progress(f"causal, {run.method}", i + 1, len(causal.subjects))
        return {"effects": effects_of(readings, causal).round(5).tolist(), "faceless": faceless(readings)}

    about = (
        dict(bench.about) | bench.decided_by(method, adapter, scale) | {"causal": bench.asked.causal, "fit": RENDERS}
    )
    found = remembered(run.folder / "causal.json", about, make)
    return Effects(run.method.replace("_", " "), np.array(found["effects"], np.float64), found["faceless"])


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

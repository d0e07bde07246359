"""The methods of `facefact eval claims` to be looked at: the same people and prompts by each, beside the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from facefact.checkpoint import replacing
from facefact.evaluate.claims.bench import Bench
from facefact.evaluate.claims.page import said
from facefact.evaluate.claims.plan import Method, Plan, Run
from facefact.evaluate.protocol import Protocol
from facefact.evaluate.sheet import named_rows
from facefact.train.material.fill import fingerprint
from facefact.world import render

SHOWN = 8  # people: the first ones, nobody chose them
OF = "made of"  # what a picture file says it was


def sheet_of(plan: Plan, bench: Bench) -> Image.Image:
    """A row for the references, for the true renders and for each method, of its first training at the table's
    scale; a column a person, each with a prompt of their own."""
    few = first_cases(bench.cases, SHOWN)
    truth = [render(few.people[case.own], case.wanted).image for case in few.cases]
    rows = [("reference", [one.image for one in few.references]), ("the truth", truth)]
    first = {run.method: run for run in reversed(plan.runs)}
    for name, method in plan.claims.methods.items():
        if name in first:
            rows.append((said(name), list(pictures_of(first[name], method, few, bench))))
    return named_rows([case.wanted["expression"] for case in few.cases], rows, cell=few.references[0].image.shape[0])


def first_cases(plan: Protocol, people: int) -> Protocol:
    """One case of each of the first people."""
    cases = {case.own: case for case in reversed(plan.cases) if case.own < people}
    return Protocol(
        plan.people[:people], plan.looks[:people], plan.references[:people], tuple(cases[own] for own in sorted(cases))
    )


def pictures_of(run: Run, method: Method, few: Protocol, bench: Bench) -> np.ndarray:
    """(cases, h, w, 3) uint8; remembered beside its training, as a picture that can be looked at."""
    adapter, scale = bench.adapter_of(run, method), bench.asked.scale
    key = fingerprint(dict(bench.about) | bench.decided_by(method, adapter, scale) | {"shown": len(few.cases)})
    path = run.folder / "pictures.png"
    if path.is_file():
        with Image.open(path) as there:
            if there.info.get(OF) == key:
                return np.stack(np.split(np.asarray(there), len(few.cases), axis=1))
    made = bench.pictures(few, method, adapter, scale, f"{run.method}, seed {run.seed}, for the sheet")
    write_strip(made, key, path)
    return made


def write_strip(pictures: np.ndarray, key: str, path: Path) -> None:
    """Side by side, in a PNG file that says what they were made of."""
    about = PngInfo()
    about.add_text(OF, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        Image.fromarray(np.concatenate(pictures, axis=1)).save(temporary, format="png", pnginfo=about)

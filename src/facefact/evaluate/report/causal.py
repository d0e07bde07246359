"""The causal benchmark as a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from facefact.evaluate.causal.interventions import FACTORS
from facefact.evaluate.causal.run import Measured, Method
from facefact.evaluate.report.record import Heat, Report, Tile, beside
from facefact.metrics.scores import Figure

WORDS = {
    "fidelity": "how much of a change of the person arrives in the result; 1 is all",
    "entanglement": "how much a change of one factor of the person moves the others, in units of their own full change",
    "leakage": "how much a change of the reference's look moves anything, in the same units",
    "leakage_to_identity": "... how much it moves the person's factors",
    "leakage_of_itself": "... how much of it shows up as itself (a hat put on the reference is on in the result)",
    "gain": "the diagonal of the matrix, factor by factor",
    "less": "this method's figure less the first method's, paired",
}


def causal_report(measured: Measured, written: Mapping[str, Any]) -> Report:
    """written: as `run.report` gives it."""
    everybody = (measured.world, *measured.methods)
    first = measured.methods[0]
    methods = {one.name: figures(measured, one, None if one is first else first) for one in everybody}
    names = tuple(name.replace("_", " ") for name in FACTORS)
    matrices = {
        one.name: Heat(names, names, np.where(measured.readable, measured.matrix(one).value, np.nan))
        for one in everybody
    }
    about = {key: written[key] for key in ("seed", "people", "sampling", "models") if key in written}
    return Report("causal identity benchmark", about, methods, WORDS, matrices, galleries(measured))


def figures(measured: Measured, method: Method, first: Method | None) -> dict[str, Figure]:
    found = dict(measured.summary(method))
    cells, n = measured.matrix(method), len(measured.plan.subjects)
    for i, name in enumerate(FACTORS):
        if measured.readable[i] and np.isfinite(cells.value[i, i]):
            value, low, high = (float(part[i, i]) for part in (cells.value, cells.low, cells.high))
            found[f"gain.{name}"] = Figure(value, low, high, n)
    if first is not None and method is not measured.world:
        found |= {f"less.{name}": one for name, one in measured.less(method, first).items()}
    return found


def galleries(measured: Measured, *, worst: int = 8) -> dict[str, tuple[Tile, ...]]:
    """Of the first person, for each method, what the changes moved most that they should not have."""
    references = [one.references[0] for one in measured.plan.requests(0)]
    found = {}
    for method in measured.methods:
        units = np.diagonal(np.nanmean(measured.world.effects, axis=0))
        sizes = np.abs(method.effects[0]) / units
        np.fill_diagonal(sizes, 0)
        wrong = np.nanmean(np.where(measured.readable, sizes, np.nan), axis=1)
        tiles = [Tile(method.first[0], "the reference as it is", "")]
        for i in np.argsort(-np.nan_to_num(wrong))[:worst]:
            pair = beside(references[1 + i], method.first[1 + i])
            tiles.append(Tile(pair, FACTORS[i].replace("_", " "), f"changed in the reference (left): {wrong[i]:.2f}"))
        found[f"{method.name}: changes that moved most of what they should not"] = tuple(tiles)
    return found

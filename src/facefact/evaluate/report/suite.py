"""The suite as a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from facefact.evaluate.report.record import Report, Tile, beside
from facefact.evaluate.suite import TRUTH, WORDS, Suite, figures

WORST = 12


def suite_report(suite: Suite, about: Mapping[str, Any]) -> Report:
    """Figures of every method, and of each the pictures that look least like the person."""
    methods = {name: figures(suite, name) for name in suite.made}
    kid = {"kid": f"{WORDS['kid']}: {suite.network}"}
    galleries = {f"{name}: least like the person": worst(suite, name) for name in suite.made if name != TRUTH}
    return Report("methods on the portrait world", about, methods, WORDS | kid, galleries=galleries)


def worst(suite: Suite, name: str) -> tuple[Tile, ...]:
    """The reference beside the picture, by rising cosine."""
    made, plan = suite.made[name][0], suite.galleries[0].plan
    cosine = made.samples["cos_own"]
    tiles = []
    for i in np.argsort(cosine, kind="stable")[:WORST]:
        case = plan.cases[i]
        pair = beside(plan.references[case.own].image, made.pictures[i])
        tiles.append(Tile(pair, f"cosine {cosine[i]:.2f}", case.prompt))
    return tuple(tiles)

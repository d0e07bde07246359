"""The benchmark's result as a picture of matrices side by side, a sheet of pictures, and tables in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facefact.checkpoint import replacing
from facefact.evaluate.causal.interventions import FACTORS
from facefact.evaluate.causal.run import Measured
from facefact.evaluate.sheet import named_rows
from facefact.markdown import markdown_table

SHOWN = ("skin_tone", "face_width", "eye_spacing", "iris", "nose_length", "glasses", "hat", "hair_colour", "expression")
ACROSS = 6  # matrices beside each other
NAMES = {"fidelity": "fidelity", "entanglement": "entanglement", "leakage": "leakage"}
WORDS = {
    "fidelity": "fidelity (1 is right)",
    "entanglement": "entanglement",
    "leakage": "leakage",
    "leakage_to_identity": "... to the person",
    "leakage_of_itself": "... of itself",
}


def markdown(report: Mapping[str, Any]) -> str:
    """One row a method; in brackets the 95 % intervals over people."""
    rows = [["the world itself", *(said(report["world"][name]) for name in WORDS), "", ""]]
    for name, one in report["methods"].items():
        less = one.get("less_than_first")
        apart = "" if less is None else said(less["fidelity"])
        rows.append([name, *(said(one[key]) for key in WORDS), apart, f"{one['faceless']:.3f}"])
    head = ["method", *WORDS.values(), "fidelity, less the first's", "no face"]
    return markdown_table(head, rows) + "\n"


def reading_markdown(report: Mapping[str, Any]) -> str:
    """How well each of the person's factors can be read off renders."""
    reading = report["reading"]
    rows = [
        [
            name,
            f"{r2:.2f}",
            f"{reading['units'][name]:.2f}",
            f"{reading['right_way'][name]:.2f}",
            _counts(reading, name),
        ]
        for name, r2 in reading["r2"].items()
    ]
    return markdown_table(["factor", "R^2", "moves by (true: 1)", "the right way", "counts"], rows) + "\n"


def _counts(reading: Mapping[str, Any], name: str) -> str:
    return "yes" if name in reading["counts"] else "no"


def said(one: Mapping[str, float], digits: int = 2) -> str:
    return f"{one['value']:.{digits}f} [{one['low']:.{digits}f}, {one['high']:.{digits}f}]"


def draw(report: Mapping[str, Any], path: Path) -> None:
    """The matrices side by side, the world's first: row, what was changed in the reference; column, what changed in the
    result. ImportError without matplotlib."""
    from matplotlib.figure import Figure as Page

    panels = {"the world itself": report["world"]} | dict(report["methods"])
    across, down = min(len(panels), ACROSS), math.ceil(len(panels) / ACROSS)
    page = Page(figsize=(1.7 + 3.6 * across, 5.0 * down), dpi=110 if down == 1 else 80, layout="constrained")
    axes = page.subplots(down, across, squeeze=False).ravel()
    for spare in axes[len(panels) :]:
        spare.set_axis_off()
    factors, split = report["factors"], report["identity"] - 0.5
    dull = [i for i, name in enumerate(factors) if name not in report["reading"]["counts"]]
    names = [name.replace("_", " ") for name in factors]
    for at, (ax, (name, one)) in enumerate(zip(axes, panels.items(), strict=False)):
        cells = np.array([[np.nan if cell is None else cell for cell in row] for row in one["matrix"]])
        cells[:, dull] = np.nan
        shown = ax.imshow(np.clip(cells, -1, 1), vmin=-1, vmax=1, cmap="RdBu", interpolation="nearest")
        ax.set_facecolor("#d5d5d5")
        ax.axhline(split, color="black", linewidth=0.7)
        ax.axvline(split, color="black", linewidth=0.7)
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=5.5)
        ax.set_yticks(range(len(names)), names if at % across == 0 else [], fontsize=5.5)
        figures = ", ".join(f"{label} {one[key]['value']:.2f}" for key, label in NAMES.items())
        ax.set_title(f"{name}\n{figures}", fontsize=7.5)
        ax.set_xlabel("changes in the result", fontsize=7)
        if at % across == 0:
            ax.set_ylabel("changed in the reference", fontsize=7)
    bar = page.colorbar(shown, ax=list(axes), shrink=0.7, pad=0.01)
    bar.ax.tick_params(labelsize=6)
    bar.set_label("effect, in the world's own", fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        page.savefig(temporary, format="png")


def sheet(measured: Measured) -> Image.Image:
    """The first subject: a row for the references, the world's truth and each method; a column for the untouched
    reference and for some of the changes."""
    at = [0, *(1 + FACTORS.index(name) for name in SHOWN)]
    references = [one.references[0] for one in measured.plan.requests(0)]
    rows: list[tuple[str, Sequence[np.ndarray]]] = [("reference", references), ("the world", measured.world.first)]
    rows += [(one.name, one.first) for one in measured.methods]
    shown = [(name, [pictures[i] for i in at]) for name, pictures in rows]
    return named_rows(["as it is", *SHOWN], shown, cell=references[0].shape[0])

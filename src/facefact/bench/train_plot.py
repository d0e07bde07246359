"""The figures of `facefact bench train` as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def draw(figures: dict[str, Any], path: Path) -> None:
    """Seconds of each variant, and samples per second by batch size, as PNG. Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    seconds = {name: one for name, one in figures["seconds_per_step"].items() if not name.startswith("batch_")}
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    places = np.arange(len(seconds))
    for shift, kind, colour in ((-0.2, "wall", "#9ca3af"), (0.2, "cpu", "#2563eb")):
        middle = np.array([one[kind]["median"] for one in seconds.values()])
        low, high = (np.array([one[kind][end] for one in seconds.values()]) for end in ("low", "high"))
        left.barh(places + shift, middle, 0.38, xerr=[middle - low, high - middle], color=colour, label=f"{kind} time")
    left.set_yticks(places, [name.replace("_", " ") for name in seconds])
    left.invert_yaxis()
    left.set_xlabel(f"seconds a step of {figures['batch']} (median, quartiles)")
    left.legend()
    rates = figures["samples_per_second"]
    for kind, colour in (("wall", "#9ca3af"), ("cpu", "#2563eb")):
        right.plot(list(rates), [one[kind] for one in rates.values()], "o-", color=colour, label=f"{kind} time")
    right.set(xlabel="batch size", ylabel="samples a second", ylim=(0, None))
    figure.savefig(path, dpi=110)

"""The report of `facefact eval claims` as a picture: identity against text following and against locality as the scale
varies, a curve a method; and where in the picture each method changes something."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facefact.checkpoint import replacing
from facefact.evaluate.claims.page import said

AGAINST = {"attributes": "attributes as asked", "outside_change": "change outside the face, of 255"}
ACROSS = 7  # maps beside each other
MARKERS = "osD^v<>PX*"


def draw(report: Mapping[str, Any], path: Path) -> bool:
    """False: no matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    maps = {name: np.array(one["change"]) for name, one in report["methods"].items() if np.any(one["change"])}
    rows = math.ceil(len(maps) / ACROSS)
    page = Figure(figsize=(12.5, 4.6 + 1.95 * rows), dpi=110, layout="constrained")
    parts: Any = page.subfigures(2, 1, height_ratios=[4.6, max(1.95 * rows, 0.1)])
    above, below = parts
    curves(report, above)
    if maps:
        change_maps(maps, rows, below)
    with replacing(path) as temporary:
        page.savefig(temporary, format="png")
    return True


def curves(report: Mapping[str, Any], page: Any) -> None:
    """A point for each scale of the adapter."""
    axes = page.subplots(1, 2)
    for axis, (asked, words) in zip(axes, AGAINST.items(), strict=True):
        for number, (name, one) in enumerate(report["methods"].items()):
            points = [figures for _, figures in sorted(one["scales"].items(), key=lambda pair: float(pair[0]))]
            x, y = ([figures[key]["value"] for figures in points] for key in (asked, "rank1"))
            axis.plot(x, y, label=said(name), linewidth=1.3, markersize=5, **style_of(number))
        axis.set_xlabel(words)
        if asked == "outside_change":
            axis.set_xscale("symlog", linthresh=1)  # 0 is there, and what begins from another picture changes all of it
        axis.set_ylabel("rank-1 retrieval of the person")
        axis.grid(alpha=0.3)
    page.legend(*axes[0].get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside right center")


def style_of(number: int) -> dict[str, Any]:
    """No two of the first hundred methods look alike, even where a method is a single point: after ten they are hollow,
    and their markers go with other colours."""
    turn, colour = divmod(number, 10)
    style: dict[str, Any] = {"marker": MARKERS[(number + turn) % len(MARKERS)], "color": f"C{colour}"}
    return style | ({"linestyle": "--", "markerfacecolor": "none"} if turn else {})


def change_maps(maps: Mapping[str, np.ndarray], rows: int, page: Any) -> None:
    """The mean change of all pictures against the base model's of the same noise, by place; one scale of colours, of
    which what begins from another picture altogether does not set the end."""
    axes = page.subplots(rows, min(ACROSS, len(maps)), squeeze=False)
    end = sorted(float(one.max()) for one in maps.values())[len(maps) // 2]
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, values) in zip(axes.flat, maps.items(), strict=False):
        shown = axis.imshow(values, vmin=0, vmax=end, cmap="magma", interpolation="nearest")
        axis.set_title(said(name), fontsize=7.5)
    bar = page.colorbar(shown, ax=axes.ravel().tolist(), shrink=0.8, pad=0.01)
    bar.set_label("mean change against\nthe base model, of 255", fontsize=7)
    bar.ax.tick_params(labelsize=7)

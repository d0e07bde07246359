"""The plots of a run's report, as PNG. Needs matplotlib (`facefact[train]`), imported when something is drawn."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from facefact.train.engine.curriculum import Curve, value_at
from facefact.train.report.run_folder import RunFolder

BLUE, ORANGE, GREEN, GREY = "#2563eb", "#d97706", "#15803d", "#9ca3af"
WIDTH, HEIGHT, DPI = 5.2, 2.8, 110  # of a panel, in inches
LEFT, BOTTOM, ACROSS, UP = 0.13, 0.17, 0.79, 0.72  # of a panel: where its axes are
POINTS = 1500  # of one line at most: more cannot be seen
Panel = Callable[[Any], None]  # draws on matplotlib's axes

# What a validation measures, by plot: names of the figures, with the words for them.
MEASURED: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "similarity of faces (the training's own encoder)",
        {"similarity_own": "to the own person", "similarity_other": "to the others", "similarity_base": "base model"},
    ),
    ("nearest reference is the right person", {"rank1": "share of the faces found"}),
    (
        "loss inside held-out faces, by the face that is given",
        {
            "loss_own": "the own",
            "loss_other": "another one's",
            "loss_null": "the null face",
            "loss_base": "none (base)",
        },
    ),
    (
        "what the own face is worth: loss without it - loss with it",
        {"gap_other": "another one's face", "gap_null": "the null face"},
    ),
    ("change outside the face (of 255)", {"outside_change": "against the base model's picture"}),
    (
        "leak meter: mean share of change",
        {"leak_outside_whole": "outside the face", "leak_inside_whole": "inside the face"},
    ),
)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Exponential average, without its bias at the start; its memory is a fiftieth of the values."""
    keep = 1 - 1 / max(1.0, len(values) / 50)
    total, weight, found = 0.0, 0.0, np.empty(len(values))
    for i, value in enumerate(values):
        total, weight = keep * total + value, keep * weight + 1
        found[i] = total / weight
    return found


def curve_panels(run: RunFolder) -> list[Panel]:
    """Loss and diffusion, FAIR, learning rate, seconds of a step and the share that waits for data."""

    def losses(axis: Any) -> None:
        for name, colour in (("loss", BLUE), ("diffusion", ORANGE)):
            line(axis, *run.column(name), name, colour)
        finish(axis, "loss (thin: each step; thick: smoothed)", low=None)

    def leak(axis: Any) -> None:
        line(axis, *run.column("fair"), "FAIR", GREEN)
        finish(axis, "FAIR: share of change outside the face")

    def rate(axis: Any) -> None:
        line(axis, *run.column("lr"), "learning rate", BLUE, raw=False)
        finish(axis, "learning rate")

    def pace(axis: Any) -> None:
        line(axis, *run.column("seconds"), "seconds", BLUE)
        _, seconds = run.column("seconds")
        steps, shares = run.wait()
        finish(axis, "seconds a step (left), % of it waiting for data (right)")
        if len(seconds):  # (a step that was held up once would flatten all others)
            axis.set_ylim(0, 1.15 * min(float(seconds.max()), 4 * float(np.percentile(seconds, 90))))
        if len(steps):
            second = axis.twinx()
            line(second, steps, 100 * shares, "% waiting", ORANGE)
            second.set_ylim(0, max(5.0, float(np.percentile(100 * shares, 98)) * 1.2))
            second.tick_params(labelsize=8)
            second.spines["top"].set_visible(False)
            second.legend(loc="upper right", frameon=False, fontsize=8)
            axis.legend(loc="upper left", frameon=False, fontsize=8)

    return [losses, leak, rate, pace]


def curriculum_panels(curves: Mapping[str, Curve], steps: int) -> list[Panel]:
    """What changes over the steps."""

    def panel(name: str, curve: Curve) -> Panel:
        corners = [] if isinstance(curve, (int, float)) else [float(step) for step, _ in curve if float(step) <= steps]
        at = np.unique(np.concatenate([np.linspace(0, steps, 400), np.array(corners, float)]))

        def draw(axis: Any) -> None:
            axis.plot(at, [value_at(curve, step) for step in at], color=BLUE, linewidth=2)
            finish(axis, name)

        return draw

    return [panel(name, curve) for name, curve in curves.items()]


def validation_panels(run: RunFolder) -> list[Panel]:
    """The figures of the validations over the steps, those that were measured; pale, the interval of those that have
    one."""

    def panel(title: str, names: Mapping[str, str]) -> Panel:
        def draw(axis: Any) -> None:
            for (name, words), colour in zip(names.items(), (BLUE, ORANGE, GREY, GREEN), strict=False):
                pairs = [(one.step, one.figures[name]) for one in run.validations if name in one.figures]
                if pairs:
                    axis.plot(*zip(*pairs, strict=True), color=colour, marker="o", markersize=4, label=words)
                ends = [
                    (one.step, one.figures[f"{name}_low"], one.figures[f"{name}_high"])
                    for one in run.validations
                    if {f"{name}_low", f"{name}_high"} <= one.figures.keys()
                ]
                if ends:
                    axis.fill_between(*zip(*ends, strict=True), color=colour, alpha=0.15, linewidth=0)
            from_0 = not title.startswith(("similarity", "loss", "what"))
            finish(axis, title, low=0.0 if from_0 else None)

        return draw

    measured = {name for one in run.validations for name in one.figures}
    return [panel(title, names) for title, names in MEASURED if measured & names.keys()]


def drawn(panel: Panel) -> bytes:
    """One panel as a picture. (matplotlib's layout engines would draw it twice, and a report has a dozen.)"""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI)
    panel(figure.add_axes((LEFT, BOTTOM, ACROSS, UP)))
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def together(pictures: Sequence[bytes]) -> bytes:
    """Those of several panels in one of two columns."""
    opened = [Image.open(io.BytesIO(one)).convert("RGB") for one in pictures]
    width, height = opened[0].size
    page = Image.new("RGB", (2 * width, height * -(-len(opened) // 2)), "white")
    for i, one in enumerate(opened):
        page.paste(one, (i % 2 * width, i // 2 * height))
    out = io.BytesIO()
    page.save(out, "PNG")
    return out.getvalue()


def line(axis: Any, steps: np.ndarray, values: np.ndarray, label: str, colour: str, *, raw: bool = True) -> None:
    """One number over the steps: its values thin and pale, their average thick."""
    if not len(steps):
        return
    every = max(1, len(steps) // POINTS)
    if raw:
        axis.plot(steps[::every], values[::every], color=colour, alpha=0.25, linewidth=0.8)
    axis.plot(steps[::every], (smoothed(values) if raw else values)[::every], color=colour, linewidth=1.8, label=label)


def finish(axis: Any, title: str, *, low: float | None = 0.0) -> None:
    """Title, legend, grid, and an axis that starts at `low`."""
    if not axis.lines:
        axis.text(0.5, 0.5, "nothing yet", transform=axis.transAxes, ha="center", color=GREY)
    elif axis.get_legend_handles_labels()[1]:
        axis.legend(loc="best", frameon=False, fontsize=8)
    if low is not None and axis.lines:
        top = max(float(np.nanmax(one.get_ydata())) for one in axis.lines)
        axis.set_ylim(low, low + 1.15 * (top - low) if top > low else low + 1)
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("step", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)

"""The report of `facefact eval claims` as Markdown and as a plot: identity against text following, a curve a method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facefact.markdown import markdown_table

COLUMNS = (
    "rank1",
    "cos_own",
    "face_error",
    "attributes",
    "expression",
    "pose",
    "leakage",
    "outside_change",
    "no_face",
)
WORDS = {True: "holds", False: "**does not hold**", "undecided": "undecided"}


def markdown(report: Mapping[str, Any]) -> str:
    """The table of methods, then the claims."""
    about = report["measured"]
    rows = [
        [
            name.replace("_", " "),
            _thousands(one["pictures_seen"]),
            _thousands(one["learned_weights"]),
            str(len(one["seeds"])) if one["pictures_seen"] else "-",
            *(_cell(one["figures"][key]) for key in COLUMNS),
        ]
        for name, one in report["methods"].items()
    ]
    heads = ["method", "pictures seen", "learned weights", "seeds", *(key.replace("_", " ") for key in COLUMNS)]
    notes = [f"- {name.replace('_', ' ')}: {one['note']}" for name, one in report["methods"].items() if one["note"]]
    claims = [
        [one["claim"], WORDS[one["holds"]], one["figure"].replace("_", " "), one["why"]] for one in report["claims"]
    ]
    said = f"{about['people']} unseen people, {about['steps']} steps, scale {about['scale']:g}"
    parts = [
        f"{said}; training: {report['hours']:g} hours in all.",
        markdown_table(heads, rows),
        "\n".join(notes),
        markdown_table(["claim", "here", "figure", "paired difference"], claims) if claims else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def draw(report: Mapping[str, Any], path: Path) -> bool:
    """Retrieval against what the prompt asks for, with the adapter's scale along each curve. False: no matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for axis, asked in zip(axes, ("attributes", "outside_change"), strict=True):
        for name, one in report["methods"].items():
            points = sorted((float(scale), figures) for scale, figures in one["scales"].items())
            x = [figures[asked]["value"] for _, figures in points]
            y = [figures["rank1"]["value"] for _, figures in points]
            axis.plot(x, y, marker="o", label=name.replace("_", " "), linewidth=1.4)
        axis.set_xlabel(
            {"attributes": "attributes as asked", "outside_change": "change outside the face, of 255"}[asked]
        )
        axis.set_ylabel("rank-1 retrieval of the person")
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize=8, frameon=False, loc="center right")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True


def _cell(one: Mapping[str, float]) -> str:
    digits = 1 if abs(one["value"]) >= 10 else 2
    return f"{one['value']:.{digits}f} [{one['low']:.{digits}f}, {one['high']:.{digits}f}]"


def _thousands(number: int) -> str:
    return f"{number:,}" if number else "-"

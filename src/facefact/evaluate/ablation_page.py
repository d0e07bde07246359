"""What an ablation's report says, as Markdown and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facefact.checkpoint import replacing

COLUMNS = {  # figure -> heading, factor, digits
    "own": ("face loss, own", 1, 4),
    "gap": ("gap other - own, x1000", 1000, 2),
    "gain": ("gain on base, x1000", 1000, 2),
    "leak_attention": ("leak attention, %", 100, 2),
    "leak_whole": ("leak whole, %", 100, 2),
    "leak_output": ("leak of the answer, %", 100, 2),
    "alive": ("layers alive", 1, 2),
    "rank1": ("rank-1", 1, 2),
    "outside_change": ("outside change", 1, 2),
}


def markdown(report: Mapping[str, Any]) -> str:
    """The tables: value [95 % interval over people]; in `vs` columns the paired difference from the reference."""
    arms = report["arms"]
    shown = [key for key in COLUMNS if any(key in arm["figures"] for arm in arms.values())]
    versus = [
        key
        for key in ("gap", "leak_whole", "leak_output", "rank1")
        if any(key in a.get("difference", {}) for a in arms.values())
    ]
    timed = any("cost" in arm for arm in arms.values())
    heads = [COLUMNS[key][0] for key in shown] + ["gates: mean", "closed"]
    heads += [f"{COLUMNS[key][0]}, vs {report['reference']}" for key in versus] + ["cost of a step"] * timed
    rows = [
        [name]
        + [_cell(arm["figures"].get(key), key) for key in shown]
        + [f"{arm['gates']['mean']:.3f}", f"{arm['gates']['closed']} of {arm['gates']['of']}"]
        + [_cell(arm.get("difference", {}).get(key), key, sign="+") for key in versus]
        + [_cost(arm)] * timed
        for name, arm in arms.items()
    ]
    about = (
        f"{report['steps']} steps of {report['batch']} pictures; {report['people']} unseen people, timesteps "
        f"{', '.join(map(str, report['timesteps']))}; 95 % intervals over people"
    )
    seeds = report.get("seeds", [])
    about += f" and {len(seeds)} trainings (seeds {', '.join(map(str, seeds))})." if len(seeds) > 1 else "."
    parts = [about, _table(["arm", *heads], rows)]
    if "gate_pull" in report:
        parts.append(_pull_text(report["gate_pull"]))
    return "\n\n".join(parts) + "\n"


def _cell(one: Mapping[str, float] | None, key: str, sign: str = "") -> str:
    if one is None:
        return ""
    _, factor, digits = COLUMNS[key]
    value, low, high = (f"{factor * one[end]:{sign}.{digits}f}" for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _cost(arm: Mapping[str, Any]) -> str:
    """Seconds of a step, and their ratio to the reference's."""
    cost = arm.get("cost", {})
    if "ratio" not in cost:
        return f"{cost['seconds']:.3g} s" if cost else ""
    value, low, high = (f"{cost['ratio'][end]:.3f}" for end in ("value", "low", "high"))
    return f"{cost['seconds']:.3g} s: {value} [{low}, {high}]"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows])


def _pull_text(pull: Mapping[str, Any]) -> str:
    heads = ["layer", "gate", "d diffusion: mean", "std", "mean / std", "d FAIR", "lambda* (mean)", "(one batch)"]
    keys = ("diffusion_mean", "diffusion_std", "snr", "fair", "lambda_mean", "lambda_batch")
    rows = [
        [row["layer"], row["gate"], *("-" if row[key] is None else f"{row[key]:.3g}" for key in keys)]
        for row in pull["gates"]
    ]
    held = ", ".join(f"{strength}: {one['mean']} ({one['batch']})" for strength, one in pull["held"].items())
    about = (
        f"What pulls at the closed gates before step 0 ({pull['batches']} batches of {pull['batch']}; FAIR on "
        f"the increment `{pull['increment']}`). Of {pull['felt']} gates that FAIR reaches, a lambda holds closed on "
        f"average (and in a typical batch): {held}. Median lambda* {pull['median']['lambda_mean']:.3g} "
        f"({pull['median']['lambda_batch']:.3g})."
    )
    return f"{about}\n\n{_table(heads, rows)}"


def draw(report: Mapping[str, Any], path: Path) -> bool:
    """One panel a figure, one line an arm, with its interval; the reference dashed. False: without matplotlib."""
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        return False
    arms = report["arms"]
    names = list(arms)
    first = arms[names[0]]["figures"]
    wanted = ("gap", "gain", "leak_whole", "leak_output", "alive", "rank1", "outside_change")
    keys = [key for key in wanted if key in first]
    canvas = Canvas(figsize=(2 + 2.4 * (len(keys) + 1), 1.2 + 0.32 * len(names)), dpi=110, layout="constrained")
    axes = canvas.subplots(1, len(keys) + 1, sharey=True)
    places = np.arange(len(names))
    for axis, key in zip(axes, keys, strict=False):
        title, factor, _ = COLUMNS[key]
        ends = np.array([[arms[name]["figures"][key][end] for end in ("value", "low", "high")] for name in names])
        value, low, high = factor * ends.T
        axis.errorbar(value, places, xerr=np.maximum([value - low, high - value], 0), fmt="o", capsize=2)
        if report["reference"] in names:
            axis.axvline(value[names.index(report["reference"])], linestyle="--", linewidth=0.8, color="grey")
        axis.set_title(title, fontsize=9)
    axes[-1].barh(places, [arms[name]["gates"]["mean"] for name in names], height=0.6)
    axes[-1].set_title("gates, mean |tanh alpha|", fontsize=9)
    axes[0].set_yticks(places, names, fontsize=8)
    axes[0].invert_yaxis()
    for axis in axes:
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    with replacing(path) as temporary:
        canvas.savefig(temporary, format="png")
    return True

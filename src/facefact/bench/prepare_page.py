"""The figures of `bench_prepare` for people: a page of Markdown, and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from facefact.markdown import markdown_table

GREY, BLUE = "#9ca3af", "#2563eb"
MACHINE = (
    "system",
    "device",
    "processor instructions",
    "processor bf16",
    "oneDNN limit",
    "cores of the machine",
    "cores",
    "load",
)
SOFTWARE = (
    "facefact",
    "python",
    "torch",
    "numpy",
    "opencv-python-headless",
    "mediapipe",
    "dlib-bin",
    "pyarrow",
    "pillow",
)


def markdown(figures: dict[str, Any], command: str) -> str:
    """The whole page. command: that made it."""
    sections = [
        f"# Preparation\n\n```\n{command}\n```",
        introduction(figures),
        kept_section(figures["run"]["kept"]) if "run" in figures else "",
        speed_section(figures),
        memory_section(figures["run"]) if "run" in figures else "",
        people_section(figures["people"]) if "people" in figures else "",
        alignment_section(figures["alignment"]) if "alignment" in figures else "",
        "Exact definitions: `facefact/bench/prepare.py`. Settings, versions and all figures: the JSON beside.",
    ]
    return "\n\n".join(one for one in sections if one) + "\n"


def introduction(figures: dict[str, Any]) -> str:
    given, machine = figures["input"], figures["machine"]
    models = "; ".join(f"{one['stage']}: {one['name']}" for one in figures["models"])
    where = ", ".join(f"{name} {machine[name]}" for name in MACHINE if name in machine)
    packages = ", ".join(f"{name} {machine[name]}" for name in SOFTWARE if name in machine)
    return (
        f"`{given['name']}`: {given['files']:,} files of {given['people']:,} people. Models: {models}.\n"
        f"Machine: {where}. {packages}.\nIntervals are 95 %, bootstrapped over people."
    )


def kept_section(kept: dict[str, Any]) -> str:
    rows = [("kept", f"{kept['kept']:,}", interval(kept["share"]))]
    rows += [(reason, f"{n:,}", f"{n / kept['inputs']:.3f}") for reason, n in kept["rejected"].items()]
    names = ("", f"of {kept['inputs']:,}", "share")
    return f"## What is kept\n\n{markdown_table(names, rows)}"


def speed_section(figures: dict[str, Any]) -> str:
    parts = []
    if run := figures.get("run"):
        costs = [run["once"], *([run["many"]] if "many" in run else [])]
        rows = [
            (
                f"{one['n']:,}",
                f"{one['wall_seconds']:.0f}",
                f"{one['cpu_seconds']:.0f}",
                f"{one['pictures_per_second']:.2f}",
                f"{one['pictures_per_cpu_second']:.2f}",
            )
            for one in costs
        ]
        names = ("pictures", "wall time, s", "CPU time, s", "pictures a second", "pictures a CPU second")
        words = "The whole command with one worker, starting and report included."
        if "many" in run:
            words += (
                f" Each further picture took {1000 * run['cpu_seconds_per_further_picture']:.0f} ms of CPU time, and "
                f"starting (imports, models, report) {run['cpu_seconds_to_start']:.0f} s."
            )
        parts.append(f"{words}\n\n{markdown_table(names, rows)}")
    if stages := figures.get("stages"):
        used = [stage_row(name, stages) for name in stages["cpu_ms_per_picture"]]
        used.append(
            ("all", f"{stages['cpu_ms_whole']:.1f}", "100 %", f"{stages['n']:,}", f"{stages['cpu_ms_whole']:.1f}")
        )
        words = (
            f"Where it goes: CPU time of each part over {stages['n']:,} pictures in one process, without starting: "
            f"{stages['pictures_per_cpu_second']:.1f} pictures a second of one core."
        )
        names = ("part", "ms of CPU time a picture", "share", "asked about", "ms each")
        parts.append(f"{words}\n\n{markdown_table(names, used)}")
    return "\n\n".join(["## Speed", *parts]) if parts else ""


def stage_row(name: str, stages: dict[str, Any]) -> tuple[str, ...]:
    """A stage's milliseconds over all pictures, its share, how many it was asked about, milliseconds for each of
    these."""
    ms, asked = stages["cpu_ms_per_picture"][name], stages["asked"].get(name)
    own = (f"{asked:,}", f"{ms * stages['n'] / asked:.1f}") if asked else ("", "")
    return name, f"{ms:.1f}", f"{100 * stages['share'][name]:.0f} %", *own


def memory_section(run: dict[str, Any]) -> str:
    costs = [run["once"], *([run["many"]] if "many" in run else [])]
    if "skipped" in costs[0]["peak_mib"]:
        return f"## Memory\n\nNot measured: {costs[0]['peak_mib']['skipped']}."
    rows = [(f"{one['n']:,}", *(f"{one['peak_mib'][name]:.0f}" for name in ("parent", "worker"))) for one in costs]
    words = "Greatest resident set of the command's own process and of its worker (VmHWM)."
    if each := run.get("kib_per_further_picture"):
        words += f" For each further picture: {each['parent']:.1f} KiB and {each['worker']:.1f} KiB."
    names = ("pictures", "parent, MiB", "worker, MiB")
    return f"## Peak memory\n\n{words}\n\n{markdown_table(names, rows)}"


def people_section(found: dict[str, Any]) -> str:
    if "skipped" in found:
        return f"## People without names\n\nNot measured: {found['skipped']}."
    named = {
        "precision": "of the pairs put together, of one person",
        "recall": "of the pairs of one person, put together",
        "held_out_precision": "precision, distance chosen on the other half of the people (range over halves)",
        "held_out_recall": "recall, likewise",
        "held_out_distance": "the distance so chosen",
        "auc": "area under the ROC curve of pairs",
        "own_rejected": "folders with names: own pictures called strangers",
        "intruders_missed": "one stranger in each folder: not seen",
        "crowd_missed": "nearly half of the folder one other person: not seen",
    }
    rows = [(words, interval(found[name]), f"{found[name]['n']:,}") for name, words in named.items() if name in found]
    return (
        f"## People without names\n\n{found['recogniser']}, distance {found['cluster']:g} (outliers: "
        f"{found['outlier']:g}). {found['pictures']:,} pictures of {found['people']:,} people became "
        f"{found['people_found']:,} people.\n\n{markdown_table(('', 'value [95 % interval]', 'n'), rows)}"
    )


def alignment_section(found: dict[str, Any]) -> str:
    if "skipped" in found:
        return f"## Alignment\n\nNot measured: {found['skipped']}."
    parts = [
        "## Alignment",
        "Landmarks of two detectors on the same face. Distances: mean over the five points, as a share of the eye "
        "distance. Scatter: what is left when each point's mean difference is taken off. Crop: how far apart the two "
        "alignments put the face in the 112 px crop, in pixels.",
    ]
    for pair, one in found.items():
        if not one["n"]:
            parts.append(f"{pair}: no face that both took.")
            continue
        names = ("", "mean [95 % interval]", *(f"{k} %" for k in one["distance"]["percentiles"]))
        rows = [
            (name, interval(one[name]), *(f"{v:.3g}" for v in one[name]["percentiles"].values()))
            for name in ("distance", "scatter", "crop")
        ]
        points = ", ".join(f"{name} {value:.3f}" for name, value in one["by_point"].items())
        first, second = pair.split(", ")
        parts.append(
            f"{pair}, {one['n']:,} faces (only {first}: {one['only the first']}, only {second}: "
            f"{one['only the second']}, neither: {one['neither']}, different faces: {one['different faces']}):"
        )
        parts.append(markdown_table(names, rows))
        parts.append(f"By point: {points}.")
    return "\n\n".join(parts)


def interval(one: dict[str, float]) -> str:
    return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def draw(figures: dict[str, Any], path: Path) -> None:
    """CPU time by stage, and memory over the run, as PNG. Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ran = [figures.get("run", {}).get(name) for name in ("once", "many")]
    curves = [(colour, one) for colour, one in zip((GREY, BLUE), ran, strict=True) if one and one["curve"]]
    stages = figures.get("stages")
    count = max(1, bool(stages) + bool(curves))
    figure = Figure(figsize=(10 if count == 2 else 6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = iter(figure.subplots(1, count, squeeze=False)[0])
    if stages:
        left = next(axes)
        names = list(stages["cpu_ms_per_picture"])
        left.barh(range(len(names)), list(stages["cpu_ms_per_picture"].values()), color=BLUE)
        left.set_yticks(range(len(names)), names, fontsize=8)
        left.invert_yaxis()
        left.set_xlabel("ms of CPU time a picture")
    right = next(axes) if curves else None
    for colour, one in curves:
        assert right is not None
        seconds, parent, worker = zip(*one["curve"], strict=True)
        done = [100 * second / one["wall_seconds"] for second in seconds]
        right.plot(done, worker, color=colour, label=f"worker, {one['n']:,} pictures")
        right.plot(done, parent, color=colour, linestyle=":", label=f"parent, {one['n']:,} pictures")
    if right is not None:
        right.legend(fontsize=8)
        right.set(xlabel="% of the run's time", ylabel="resident set, MiB", ylim=(0, None))
    figure.savefig(path, dpi=110)

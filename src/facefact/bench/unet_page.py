"""The figures of `facefact bench unet` for people: a page of Markdown, and a plot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from facefact.markdown import markdown_table

GREY, BLUE, GREEN = "#9ca3af", "#2563eb", "#16a34a"
COLOURS = {"exact": BLUE, "local": GREEN}
PAGE = "Exact definitions: `facefact/bench/unet.py` and beside. Versions and all figures: the JSON beside."


def markdown(figures: dict[str, Any], command: str) -> str:
    """The whole page. command: that made it."""
    sections = [
        f"# A call of the U-Net\n\n```\n{command}\n```",
        machine_line(figures["machine"]),
        *([f"## Ratios to the stock call\n\n{call_section(figures)}"] if "variants" in figures else []),
        *(f"## {title}\n\n{text(figures[part])}" for part, title, text in PARTS if part in figures),
        PAGE,
    ]
    return "\n\n".join(sections) + "\n"


def machine_line(machine: dict[str, Any]) -> str:
    where = " on ".join(dict.fromkeys((machine["device"], machine["processor"])))  # one name where they are the same
    return (
        f"{where}, {machine['cores']} core(s), {machine['threads']} thread(s), load "
        f"{machine.get('load', 'unknown')} at the end; {machine['processor instructions']}, "
        f"bf16 {machine['processor bf16']}, oneDNN's limit: {machine['oneDNN limit']}. PyTorch {machine['torch']}, "
        f"diffusers {machine['diffusers']}, facefact {machine.get('facefact commit', machine['facefact'])}. "
        "CUDA has not been run."
    )


def call_section(one: dict[str, Any]) -> str:
    n = max(row["n"] for row in one["variants"].values())
    words = (
        f"{one['shape']}, {one['size']} px, {one['batch']} picture(s), {one['rows']} rows"
        f"{' (guidance)' if one['guidance'] else ''}, {one['dtype']}, {one['device']}, random weights. Median of {n} "
        "interleaved rounds [quartiles]; ratios are to the stock base within a round. Memory: of a process with this "
        "variant alone, and how much of it the call adds."
    )
    head = ("", "ratio of wall time", "ratio of CPU time", "seconds", "peak memory, MiB", "added by the call, MiB")
    rows = [
        (
            name,
            cell(row["ratio"], row["ratio_low"], row["ratio_high"]),
            spread_cell(row["cpu_ratio"]),
            cell(row["seconds"], row["seconds_low"], row["seconds_high"]),
            mib(row["peak_bytes"]),
            mib(row["added_bytes"]),
        )
        for name, row in one["variants"].items()
    ]
    parts = [words, markdown_table(head, rows)]
    if one["local_tokens"]:
        shares = ", ".join(
            f"{100 * part['asking'] / int(n):.0f} % of {int(n):,}" for n, part in one["local_tokens"].items()
        )
        parts.append(
            f"Local mode: the face covers {100 * one['face_share']:.0f} % of the picture; the adapter works for "
            f"{shares} tokens of a layer."
        )
    parts += [f"Left out: {name}: {why}." for name, why in one["left_out"].items()]
    return "\n\n".join(parts)


def encode_section(one: dict[str, Any]) -> str:
    rows = [(name, milliseconds(row["wall"]), milliseconds(row["cpu"])) for name, row in one["seconds"].items()]
    whole = one["seconds_per_photo"]
    rows.append(("one photo, all of it", milliseconds(whole["wall"]), milliseconds(whole["cpu"])))
    words = (
        f"Once for each portrait. Face encoder and resampler of the published sizes, {one['dtype']}, random weights; "
        f"the embedded detector on a drawn avatar of {one['photo_size']} px. Median of {whole['n']} rounds [quartiles]."
    )
    return f"{words}\n\n{markdown_table(('', 'ms', 'ms of CPU time'), rows)}"


def portraits_section(one: dict[str, Any]) -> str:
    rows = [
        (
            name,
            spread_cell(row["portraits_per_second"]),
            spread_cell(row["portraits_per_cpu_second"]),
            spread_cell(row["ratio"]["wall"]),
            spread_cell(row["ratio"]["cpu"]),
        )
        for name, row in one["modes"].items()
    ]
    words = (
        f"Whole portraits: text encoder, {one['steps']} steps at guidance {one['guidance_scale']:g}, decoding; "
        f"{one['dtype']}. Local mode finds the face itself. Median of {one['n']} rounds [quartiles]; ratios of seconds."
    )
    head = ("", "portraits a second", "a CPU second", "ratio to the base, wall time", "ratio of CPU time")
    return f"{words}\n\n{markdown_table(head, rows)}"


def scaling_section(one: dict[str, Any]) -> str:
    head = (
        "axis",
        "size, px",
        "latent tokens",
        "rows",
        "photos",
        "people",
        "in one picture",
        "operations of the base, 10^9",
        "exact: operations",
        "exact: wall time",
        "exact: CPU time",
        "base_fast: wall time",
        "base_fast: CPU time",
        "local: operations",
        "local: wall time",
        "local: CPU time",
        "face keys, ms",
    )
    rounds = one["points"][0]["seconds"]["base"]["n"]
    words = (
        f"{one['shape']}, {one['dtype']}, {one['device']}, random weights. Ratios to the stock base, of operations, "
        f"of wall time and of CPU time: median [quartiles] of {rounds} rounds. Latent tokens: of the finest layer. "
        "Face keys are made once for each portrait."
    )
    return f"{words}\n\n{markdown_table(head, (tuple(scaling_row(point)) for point in one['points']))}"


def scaling_row(point: dict[str, Any]) -> Iterator[str]:
    yield from (point["axis"], str(point["size"]), f"{point['tokens']:,}", str(point["rows"]))
    yield from (str(point["photos"]), str(point["people"]), str(point.get("group", 1)))
    operations, times = point["operations"], point["ratios"]
    yield from (f"{operations['base'] / 1e9:,.0f}", f"{operations['ratio']:.3f}", *time_cells(times, "exact"))
    yield from (*time_cells(times, "base_fast"), f"{local_ratio(point):.3f}", *time_cells(times, "local"))
    yield milliseconds(point["seconds"]["keys"]["cpu"]) if "keys" in point["seconds"] else ""


def time_cells(ratios: dict[str, Any], name: str) -> tuple[str, str]:
    """Of wall time and of CPU time."""
    return (spread_cell(ratios[name]["wall"]), spread_cell(ratios[name]["cpu"])) if name in ratios else ("", "")


def local_ratio(point: dict[str, Any]) -> float:
    """Counted operations of local mode by the base's."""
    operations = point["operations"]
    return 1 + sum(operations["local"].values()) / operations["base"]


PARTS = (
    ("encode", "From a photo to face tokens", encode_section),
    ("portraits", "Portraits of the embedded model", portraits_section),
    ("scaling", "Scaling", scaling_section),
    ("groups", "People in one picture", scaling_section),
)


def cell(median: float, low: float, high: float) -> str:
    middle, *ends = (f"{one:.3g}" if one < 100 else f"{one:,.0f}" for one in (median, low, high))
    return f"{middle} [{', '.join(ends)}]"


def spread_cell(one: dict[str, float]) -> str:
    return cell(one["median"], one["low"], one["high"])


def milliseconds(one: dict[str, float]) -> str:
    return cell(*(1000 * one[name] for name in ("median", "low", "high")))


def mib(number: int | None) -> str:
    return "" if number is None else f"{number / 2**20:,.0f}"


def draw(figures: dict[str, Any], path: Path) -> None:
    """Ratios and memory of the variants; seconds against tokens where they were measured. PNG. Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    weighed = any(row["peak_bytes"] is not None for row in figures.get("variants", {}).values())
    drawn = [
        paint for part, paints in PAINTS for paint in paints if part in figures and (weighed or paint != draw_memory)
    ]
    figure = Figure(figsize=(4.6 * max(1, len(drawn)), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for i, paint in enumerate(drawn):
        paint(figure.add_subplot(1, len(drawn), i + 1), figures)
    figure.savefig(path, dpi=110)


def draw_ratios(axes: Any, figures: dict[str, Any]) -> None:
    one, names = figures, list(figures["variants"])
    rows, places = list(one["variants"].values()), np.arange(len(names))
    wall = [{"median": row["ratio"], "low": row["ratio_low"], "high": row["ratio_high"]} for row in rows]
    for shift, kind, ratios in ((-0.2, "wall time", wall), (0.2, "CPU time", [row["cpu_ratio"] for row in rows])):
        middle, low, high = (np.array([ratio[end] for ratio in ratios]) for end in ("median", "low", "high"))
        colours = [COLOURS.get(name, GREY) for name in names]
        alpha = 1 if kind == "CPU time" else 0.5
        axes.barh(places + shift, middle, 0.38, xerr=[middle - low, high - middle], color=colours, alpha=alpha)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name in names])
    axes.invert_yaxis()
    what = "a call's time by the stock call's:\nwall time pale, CPU time full"
    axes.set_xlabel(f"{what}\n{one['shape']}, {one['size']} px, {one['dtype']}")


def draw_memory(axes: Any, figures: dict[str, Any]) -> None:
    held = {name: row for name, row in figures["variants"].items() if row["peak_bytes"] is not None}
    before = [(row["peak_bytes"] - row["added_bytes"]) / 2**30 for row in held.values()]
    added = [row["added_bytes"] / 2**30 for row in held.values()]
    axes.barh(range(len(held)), before, color=GREY, label="before the call")
    axes.barh(range(len(held)), added, left=before, color=BLUE, label="added by it")
    axes.set_yticks(range(len(held)), [name.replace("_", " ") for name in held])
    axes.invert_yaxis()
    axes.set_xlabel("GiB, peak")
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)


def draw_scaling(axes: Any, figures: dict[str, Any]) -> None:
    points = [one for one in figures["scaling"]["points"] if one["axis"] == "resolution"]
    tokens = [one["tokens"] for one in points]
    for name, colour in (("base_fast", GREY), ("exact", BLUE), ("local", GREEN)):
        axes.plot(tokens, [one["ratios"][name]["cpu"]["median"] for one in points], "o-", color=colour, label=name)
    axes.plot(tokens, [one["operations"]["ratio"] for one in points], "--", color=BLUE, label="exact, operations")
    axes.plot(tokens, [local_ratio(one) for one in points], "--", color=GREEN, label="local, operations")
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="latent tokens of the finest layer", ylabel="CPU time by the stock base's", ylim=(0, None))
    axes.legend(fontsize=8)


PAINTS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("variants", (draw_ratios, draw_memory)),
    ("scaling", (draw_scaling,)),
)

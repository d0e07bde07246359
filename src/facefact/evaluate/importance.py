"""`facefact eval layers`: what an adapter loses when layers are left out, one by one and block by block.

The same pictures of the same unseen people each time, with the scale of some layers at 0 (which is the adapter without
them), judged as in `eval world`; differences are taken picture by picture. What is left out is not trained around: an
adapter that is trained without these blocks (`adapter.blocks`) loses less.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facefact.adapter.layer import within
from facefact.checkpoint import replacing
from facefact.evaluate.judges import Judges
from facefact.evaluate.pictures import Painter, Progress, Sampling, person_tokens
from facefact.evaluate.protocol import protocol
from facefact.face_adapter import FaceAdapter
from facefact.markdown import markdown_table
from facefact.metrics.scores import figure, own_and_other, retrieved
from facefact.train.adapter.leak_meter import short_names
from facefact.types import UserError

Without = tuple[str, ...]  # prefixes of the blocks that are left out
Samples = dict[str, list[float]]
NONE_OUT: Without = ()
MEASURED = ("rank1", "cos_own")


def one_by_one(blocks: Sequence[str]) -> list[Without]:
    """Each block alone, then each larger part that several of them make up (`up_blocks.1`, `up_blocks`)."""
    parts = {".".join(name.split(".")[:n]): None for n in (2, 1) for name in blocks}
    several = [part for part in parts if 1 < sum(within(name, [part]) for name in blocks) < len(blocks)]
    return [(one,) for one in (*blocks, *several)]


def layer_importance(
    bundle: Path,
    judges_dir: Path,
    *,
    path: Path,
    without: Sequence[Without] = (),
    seed: int = 1,
    people: int = 100,
    per_person: int = 1,
    sampling: Sampling | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The table, as JSON values, written to `path` row by row: another call with the same settings makes what it lacks.

    without: what is left out, row by row; (): `one_by_one`. Each row: `weights` of the layers left out, `rank1` and
    `cos_own` without them, and what is `lost` of both; the last one is the base model. UserError: a prefix that names
    no layer, or a file of another measurement.
    """
    sampling, judges = sampling or Sampling(), Judges.open(judges_dir, bundle)
    adapter = FaceAdapter.from_pretrained(bundle / "adapter")
    names = list(adapter.layers.configs)
    for prefix in (prefix for some in without for prefix in some):
        if not any(within(name, [prefix]) for name in names):
            raise UserError(f"no layer of this adapter is in {prefix}: it has {', '.join(names)}")
    about = {
        "adapter": adapter.content_hash(),
        "seed": seed,
        "people": people,
        "per_person": per_person,
        "sampling": {name: getattr(sampling, name) for name in ("steps", "guidance_scale", "scale")},
    }
    samples = read_samples(path, about)
    painter = Painter.open(bundle, sampling, device=device, progress=progress)
    plan = protocol(seed, people=people, per_person=per_person)
    tokens = person_tokens(adapter, plan.references, judges.detector)
    known = judges.embed([one.image for one in plan.references])
    for left_out in (NONE_OUT, tuple(names), *(without or one_by_one(names))):
        if left_out not in samples:
            made = replace(painter, sampling=replace(sampling, scale=scales(names, left_out, sampling.scale)))
            title = f"without {', '.join(left_out)}" if len(left_out) < len(names) else "without all layers"
            title = title if left_out else "whole adapter"
            similarity = judges.embed(made.adapted(plan.cases, adapter, tokens, title)) @ known.T
            values = retrieved(similarity, plan.own), own_and_other(similarity, plan.own)[0]
            samples[left_out] = {name: np.round(some, 4).tolist() for name, some in zip(MEASURED, values, strict=True)}
            write(path, about, samples, table(samples, adapter, plan.own))
    return json.loads(path.read_text(encoding="utf-8"))


def scales(names: Sequence[str], left_out: Without, scale: float | Mapping[str, float]) -> float | dict[str, float]:
    """As `FaceAdapter.condition` takes it: `scale` everywhere but in what is left out."""
    if not left_out or isinstance(scale, Mapping):
        return dict(scale) if isinstance(scale, Mapping) else scale
    return {name: 0.0 if within(name, left_out) else scale for name in names}


def table(samples: Mapping[Without, Samples], adapter: FaceAdapter, own: np.ndarray) -> list[dict[str, Any]]:
    """own: (pictures,) the person of each."""
    whole, rows = samples[NONE_OUT], []
    for left_out, some in samples.items():
        layers = [name for name in adapter.layers.configs if within(name, left_out)]
        rows.append(
            {
                "without": list(left_out),
                "layers": len(layers),
                "weights": sum(weight.numel() for name in layers for weight in adapter.layers[name].parameters()),
                **{name: figure(np.array(some[name]), own).as_json() for name in MEASURED},
                "lost": {
                    name: figure(np.array(whole[name]) - np.array(some[name]), own).as_json() for name in MEASURED
                },
            }
        )
    return rows


def read_samples(path: Path, about: Mapping[str, Any]) -> dict[Without, Samples]:
    """By what was left out; empty when there is no file. UserError: it is of another measurement, or none."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        same, samples = found["about"] == about, found["samples"]
        kept = {tuple(row["without"]): {name: row[name] for name in MEASURED} for row in samples}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no table of `facefact eval layers`: {error}") from error
    if not same:
        raise UserError(f"{path} holds the figures of other settings or another bundle: choose another file")
    return kept


def write(
    path: Path, about: Mapping[str, Any], samples: Mapping[Without, Samples], rows: Sequence[Mapping[str, Any]]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tree = {
        "about": dict(about),
        "rows": list(rows),
        "samples": [{"without": list(left_out), **some} for left_out, some in samples.items()],
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(tree) + "\n", encoding="utf-8")


def label(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """What is left out, short."""
    out = row["without"]
    if not out:
        return "nothing"
    if row["layers"] == max(one["layers"] for one in rows):
        return "all (the base model)"
    single = [name for name in out if "transformer_blocks" in name]
    shorts = dict(zip(single, short_names(single), strict=True))
    return ", ".join(shorts.get(name, name) for name in out)


def markdown(report: Mapping[str, Any]) -> str:
    """The table: figures with their 95 % intervals over people."""

    def cell(one: Mapping[str, float], sign: str = "") -> str:
        return f"{one['value']:{sign}.3f} [{one['low']:{sign}.3f}, {one['high']:{sign}.3f}]"

    rows = [
        [
            label(row, report["rows"]),
            f"{row['weights'] / 1e6:.2f} M",
            cell(row["rank1"]),
            cell(row["cos_own"]),
            *((cell(row["lost"][name], "+") for name in MEASURED) if row["without"] else ("", "")),
        ]
        for row in report["rows"]
    ]
    heads = ["left out", "weights", "rank-1", "cosine to the person", "rank-1 lost", "cosine lost"]
    about = report["about"]
    return (
        f"{about['people']} unseen people of seed {about['seed']}, {about['per_person']} pictures of each, "
        f"{about['sampling']['steps']} steps; 95 % intervals over people.\n\n{markdown_table(heads, rows)}\n"
    )


def draw(report: Mapping[str, Any], path: Path) -> None:
    """The cosine that is lost without each, with its interval, as PNG. ImportError without matplotlib."""
    from matplotlib.figure import Figure as Page

    rows = [row for row in report["rows"] if row["without"]]
    page = Page(figsize=(6.5, 1 + 0.28 * len(rows)), dpi=110, layout="constrained")
    axes = page.subplots()
    value, low, high = np.array([[row["lost"]["cos_own"][end] for end in ("value", "low", "high")] for row in rows]).T
    places = np.arange(len(rows))
    axes.barh(places, value, height=0.6, xerr=np.maximum([value - low, high - value], 0), capsize=2)
    axes.set_yticks(places, [label(row, rows) for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_title("cosine to the right person that is lost without these layers", fontsize=9)
    with replacing(path) as temporary:
        page.savefig(temporary, format="png")

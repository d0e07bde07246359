"""`facefact eval steps`: what few denoising steps cost, and in which part of the noise schedule the face must count.
`facefact eval local`: what local mode loses, and what of the adapter's work it saves.

Every row of the table is one way to make the same pictures of the same unseen people, judged as in `eval world`. Rows
are added as they are done, those that a file holds already are not made again: an interrupted table goes on.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facefact.adapter import Local
from facefact.checkpoint import replacing
from facefact.evaluate.judges import Judges
from facefact.evaluate.pictures import Painter, Progress, Sampling, person_tokens
from facefact.evaluate.protocol import Protocol, protocol
from facefact.evaluate.world import as_json, attribute_hits
from facefact.face_adapter import FaceAdapter
from facefact.generate import model_hash
from facefact.markdown import markdown_table
from facefact.metrics.scores import change_outside, figure, own_and_other, retrieved
from facefact.types import FaceTokens, UserError

SCHEDULERS = {"ddim": "DDIM", "ddpm": "DDPM", "dpm++ 2m": "DPMSolverMultistep", "unipc": "UniPCMultistep", "lcm": "LCM"}
STEPS = (1, 2, 4, 8, 12, 25)
GUIDANCE = (3.0, 1.0)
STARTS = (0.1, 0.2, 0.3, 0.4)
ENDS = (0.9, 0.8, 0.7, 0.6, 0.5)
LOCALS = (Local(), Local(cell=1), Local(looks=1), Local(reuse=2), Local(reuse=3))

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Way:
    """How the pictures are made: sampler, steps, guidance, where in the noise schedule the face counts, and settings of
    local mode (None: exact mode)."""

    scheduler: str = "ddim"
    steps: int = 12
    guidance_scale: float = 3.0
    start: float = 0.0
    end: float = 1.0
    local: Local | None = None

    def __post_init__(self) -> None:
        if self.scheduler not in SCHEDULERS:
            raise UserError(f"no scheduler {self.scheduler!r}: choose from {', '.join(SCHEDULERS)}")

    @property
    def whole(self) -> Way:
        """The same with the face in every step and everywhere."""
        return replace(self, start=0.0, end=1.0, local=None)


def curve(
    steps: Sequence[int] = STEPS,
    schedulers: Iterable[str] = ("ddim", "dpm++ 2m", "lcm"),
    guidance: Iterable[float] = GUIDANCE,
) -> list[Way]:
    """Quality against steps."""
    return [
        Way(scheduler=name, steps=n, guidance_scale=scale) for name in schedulers for scale in guidance for n in steps
    ]


def parts(between: Iterable[tuple[float, float]] | None = None, *, steps: int = 12) -> list[Way]:
    """The whole schedule, without its beginning, without its end. between: these parts instead."""
    if between is None:
        between = [(0.0, 1.0), *((start, 1.0) for start in STARTS), *((0.0, end) for end in ENDS)]
    return [Way(steps=steps, start=start, end=end) for start, end in between]


def localities(*, steps: int = 12) -> list[Way]:
    """Exact mode, and local mode with several settings."""
    return [Way(steps=steps), *(Way(steps=steps, local=local) for local in LOCALS)]


def read_table(path: Path, bundle: Path) -> list[Row]:
    """The rows of an earlier call, none when there is no file. UserError: they are of another bundle."""
    if not path.exists():
        return []
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        same, rows = table["models"] == models(bundle), table["rows"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no table of `facefact eval steps`: {error}") from error
    if not same:
        raise UserError(f"{path} holds the figures of another bundle: choose another file")
    return rows


def write_table(path: Path, bundle: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        lines = ",\n".join(json.dumps(row) for row in rows)
        text = f'{{"models": {json.dumps(models(bundle))}, "rows": [\n{lines}\n]}}\n'
        temporary.write_text(text, encoding="utf-8")


def models(bundle: Path) -> dict[str, str]:
    """Content hashes of what is measured."""
    return {"base": model_hash(bundle), "adapter": model_hash(bundle / "adapter")}


def measure(
    bundle: Path,
    judges_dir: Path,
    ways: Sequence[Way],
    *,
    seed: int,
    people: int = 100,
    per_person: int = 1,
    rows: Sequence[Row] = (),
    keep: Callable[[list[Row]], None] = lambda rows: None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> list[Row]:
    """`rows` and one more for each way that they lack. keep: is given all of them after each."""
    about = {"seed": seed, "people": people, "per_person": per_person}
    table = list(rows)
    missing = [way for way in ways if not any(_holds(row, about | asdict(way)) for row in table)]
    if missing:
        comparison = Comparison.open(bundle, judges_dir, protocol(seed, **_without(about, "seed")), device, progress)
        for way in missing:
            scores = as_json(comparison.score(way))
            table.append(
                about | asdict(way) | {"calls": comparison.calls(way), "work": comparison.work_of(way)} | scores
            )
            keep(table)
    return table


def _holds(row: Row, wanted: Mapping[str, Any]) -> bool:
    return all(row.get(name) == value for name, value in wanted.items())


@dataclass
class Comparison:
    """The protocol, its judges and its painter; what was made is remembered while it can be of use."""

    plan: Protocol
    judges: Judges
    painter: Painter
    adapter: FaceAdapter
    people: FaceTokens
    references: np.ndarray
    base: dict[Way, np.ndarray] = field(default_factory=dict)
    judged: dict[Way, dict[str, np.ndarray]] = field(default_factory=dict)
    work: dict[Way, int] = field(default_factory=dict)  # tokens that the adapter's layers worked for

    @classmethod
    def open(
        cls, bundle: Path, judges_dir: Path, plan: Protocol, device: str | torch.device, progress: Progress | None
    ) -> Comparison:
        judges, adapter = Judges.open(judges_dir, bundle), FaceAdapter.from_pretrained(bundle / "adapter")
        painter = Painter.open(bundle, Sampling(), device=device, progress=progress)
        people = person_tokens(adapter, plan.references, judges.detector)
        return cls(plan, judges, painter, adapter, people, judges.embed([one.image for one in plan.references]))

    def score(self, way: Way) -> dict[str, Any]:
        """The figures of one way. loss: picture by picture, against the face in every step and everywhere; of identity,
        and of the change outside the face."""
        samples, own = self.samples(way), self.plan.own
        scored = {name: figure(values, np.resize(own, len(values))) for name, values in samples.items()}
        base = self._judge(self._base(way))
        scored_base = {name: figure(values, np.resize(own, len(values))) for name, values in base.items()}
        report: dict[str, Any] = {"adapter": scored, "base": scored_base}
        if way != way.whole:
            whole = self.samples(way.whole)
            lost = {name: figure(whole[name] - samples[name], own) for name in ("rank1", "cos_own", "outside_change")}
            report["loss"] = lost
        return report

    def samples(self, way: Way) -> dict[str, np.ndarray]:
        """For each picture: rank1, cos_own, outside_change; attributes: for each factor and picture."""
        if way not in self.judged:
            painter, base = self._painter(way), self._base(way)
            with counted_tokens(self.adapter) as count:
                made = painter.adapted(self.plan.cases, self.adapter, self.people, title=_title(way))
            self.work[way] = sum(count)
            inside = self.judges.faces(base) | self.judges.faces(made)
            self.judged[way] = self._judge(made) | {"outside_change": change_outside(made, base, inside)}
        return self.judged[way]

    def work_of(self, way: Way) -> float:
        """The tokens that the adapter worked for, as a part of those with the face in every step and everywhere."""
        return round(self.work[way] / self.work[way.whole], 3)

    def calls(self, way: Way) -> dict[str, int]:
        """Calls of the U-Net in each picture, and those of them in which the face counts."""
        scheduler = self._painter(way).pipe.scheduler
        scheduler.set_timesteps(way.steps)
        noise = scheduler.timesteps / scheduler.config.num_train_timesteps
        counts = (noise <= 1 - way.start) & ((noise > 1 - way.end) | (way.end == 1))
        return {"all": len(noise), "with_face": int(counts.sum())}

    def _base(self, way: Way) -> np.ndarray:
        """The base model's pictures; only the last ones are remembered."""
        way = way.whole
        if way not in self.base:
            self.base = {way: self._painter(way).base(self.plan.cases, title=f"base model, {_title(way)}")}
        return self.base[way]

    def _judge(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        similarity, own = self.judges.embed(pictures) @ self.references.T, self.plan.own
        hits = attribute_hits(self.judges.read(pictures), self.plan.cases)
        return {
            "rank1": retrieved(similarity, own),
            "cos_own": own_and_other(similarity, own)[0],
            "attributes": np.concatenate(list(hits.values())),
        }

    def _painter(self, way: Way) -> Painter:
        """One that samples in this way: the same networks, a scheduler of its own."""
        import diffusers

        kind = getattr(diffusers, f"{SCHEDULERS[way.scheduler]}Scheduler")
        pipe = copy.copy(self.painter.pipe)
        pipe.scheduler = kind.from_config(pipe.scheduler.config)
        chosen = {name: value for name, value in asdict(way).items() if name != "scheduler"}
        if way.local is not None:  # the region is as large for all of a batch: each picture for itself
            chosen |= {"local": way.local, "batch": 1}
        return replace(self.painter, pipe=pipe, sampling=replace(self.painter.sampling, **chosen))


@contextlib.contextmanager
def counted_tokens(adapter: FaceAdapter) -> Iterator[list[int]]:
    """Collects, for every call of a layer inside the `with`, the tokens that it works for."""
    count: list[int] = []
    hooks = [
        layer.ff.register_forward_hook(lambda module, given, made: count.append(len(made.flatten(0, -2))))
        for _, layer in adapter.layers.items()
    ]
    try:
        yield count
    finally:
        for hook in hooks:
            hook.remove()


def _title(way: Way) -> str:
    part = "" if (way.start, way.end) == (0, 1) else f", face from {way.start:g} to {way.end:g}"
    local = "" if way.local is None else f", {_local_title(asdict(way.local))}"
    return f"{way.scheduler}, {way.steps} steps, guidance {way.guidance_scale:g}{part}{local}"


def _local_title(local: Mapping[str, Any]) -> str:
    """What is not as it is by default."""
    usual = asdict(Local())
    return ", ".join(["local", *(f"{name} {value}" for name, value in local.items() if value != usual[name])])


def _without(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}


def markdown(rows: Iterable[Row]) -> str:
    """The table in Markdown; in brackets the 95 % intervals."""
    head = ["sampler", "guidance", "steps", "face from-to", "calls with face", "rank-1", "cosine to own", "attributes"]
    head += ["base's attributes", "change outside"]
    lines = []
    for row in rows:
        made, calls = row["adapter"], row["calls"]
        cells = [row["scheduler"], f"{row['guidance_scale']:g}", row["steps"], f"{row['start']:g}-{row['end']:g}"]
        cells += [f"{calls['with_face']} of {calls['all']}"]
        cells += [_said(made[name]) for name in ("rank1", "cos_own", "attributes")]
        cells += [_said(row["base"]["attributes"]), _said(made["outside_change"], digits=1)]
        lines.append(cells)
    return markdown_table(head, lines) + "\n"


def markdown_local(rows: Iterable[Row]) -> str:
    """The rows of local mode, and what they lose against exact mode; in brackets the 95 % intervals."""
    head = ["mode", "steps", "adapter's work", "rank-1", "cosine to own", "attributes", "change outside"]
    head += ["cosine lost", "rank-1 lost", "less change outside"]
    lines = []
    for row in rows:
        made, local = row["adapter"], row.get("local")
        cells = [_local_title(local) if local else "exact", row["steps"], row.get("work", "")]
        cells += [_said(made[name]) for name in ("rank1", "cos_own", "attributes", "outside_change")]
        lost = row["loss"] if local else {}
        cells += [_said(lost[name], digits=3) if lost else "" for name in ("cos_own", "rank1", "outside_change")]
        lines.append(cells)
    return markdown_table(head, lines) + "\n"


def _said(one: Mapping[str, float], digits: int = 2) -> str:
    return f"{one['value']:.{digits}f} [{one['low']:.{digits}f}, {one['high']:.{digits}f}]"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Identity and attributes against steps, and identity lost against the part of the schedule with the face.

    ImportError without matplotlib.
    """
    from matplotlib.figure import Figure as Page

    page = Page(figsize=(13, 4), layout="constrained")
    identity, words, part = page.subplots(1, 3)
    for label, line in _curves(rows):
        for axes, name in ((identity, "rank1"), (words, "attributes")):
            _line(axes, [row["steps"] for row in line], [row["adapter"][name] for row in line], label=label)
    for label, x, line in _sweeps(rows):
        _line(part, [row[x] for row in line], [row["loss"]["cos_own"] for row in line], label=label)
    for axes, title in ((identity, "right one of the people first"), (words, "attributes as the prompt asks")):
        axes.set(title=title, xscale="log", xlabel="steps")
        axes.set_xticks(STEPS, [str(n) for n in STEPS])
        axes.minorticks_off()
    part.set(title="cosine to the own person lost", xlabel="place in the noise schedule")
    for axes in (identity, part):
        if axes.has_data():
            axes.legend(fontsize=8)
    page.savefig(path, format="png", dpi=110)


def _curves(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Label, rows: those that differ in steps alone, with the face in all of them."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in (row for row in rows if "loss" not in row):
        names = ("seed", "people", "per_person", "scheduler", "guidance_scale")
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return [
        (f"{scheduler}, guidance {guidance:g}", sorted(line, key=lambda row: row["steps"]))
        for (*_, scheduler, guidance), line in found.items()
        if len(line) > 1
    ]


def _sweeps(rows: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """Label, what changes, rows: those without the beginning, and those without the end, of each seed."""
    sweeps = []
    for seed in dict.fromkeys(row["seed"] for row in rows):
        lost = [row for row in rows if "loss" in row and row["seed"] == seed]
        for label, x, other, at in (("no face before", "start", "end", 1.0), ("no face after", "end", "start", 0.0)):
            line = sorted((row for row in lost if row[other] == at), key=lambda row: row[x])
            if line:
                sweeps.append((f"{label} (seed {seed})", x, line))
    return sweeps


def _line(axes: Any, x: Sequence[float], ys: Sequence[Mapping[str, float]], *, label: str) -> None:
    middle = [y["value"] for y in ys]
    spans = [[y["value"] - y["low"] for y in ys], [y["high"] - y["value"] for y in ys]]
    axes.errorbar(x, middle, spans, label=label, marker="o", markersize=3, capsize=2, linewidth=1)

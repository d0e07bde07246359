"""`facefact bench prepare`: what `facefact prepare` keeps of a folder of photos, how right it is, and what it costs.

    run         the command itself with one worker, on the folder and on a folder of `times` as many pictures (copies of
                the files with a few bytes appended, under names of as many more people; the search for look-alikes is
                off there): what is kept and why not, pictures a second, peak memory
    stages      CPU time of each stage, in this process
    people      the same pictures without their folders' names: which pairs of pictures are put together, and which of
                these are of one person
    alignment   the landmarks of each two detectors that are here, on the faces that both take

The folder has a folder for each person: their names are the truth for `people`, and intervals are over people.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from facefact.bench.alignment import Progress, alignments
from facefact.bench.memory import Watched, watch
from facefact.bench.people import LabelledFaces, figures, person_numbers
from facefact.bench.timing import machine
from facefact.data.dataset import INDEX, REJECTED
from facefact.data.decode import decode
from facefact.data.inputs import list_entries
from facefact.data.local import one_thread
from facefact.data.people import check_people, decide
from facefact.data.prepare import without_paths_in
from facefact.data.prepare_config import DuplicateSettings, PrepareConfig, check_limits
from facefact.data.records import Brief, Entry, Unfit
from facefact.data.stages import Tools, captions, fit_faces, open_tools, packed
from facefact.data.tables import read_rows
from facefact.metrics.scores import Figure, figure
from facefact.types import UserError

PARTS = ("alignment", "stages", "people", "run")
PACKAGES = ("mediapipe", "opencv-python-headless", "opencv-contrib-python", "dlib-bin", "dlib", "pyarrow", "pillow")


def bench_prepare(
    folder: Path,
    settings: PrepareConfig | None = None,
    *,
    parts: Sequence[str] = PARTS,
    times: int = 10,
    yunet: str | None = None,
    progress: Progress = lambda *told: None,
) -> dict[str, Any]:
    """The figures; see the top of this file. times: how much larger the second input is (1: there is none). yunet:
    YuNet's model file. UserError: not a folder for each of two people or more."""
    settings = replace(settings or PrepareConfig(), layout="people")
    check_limits(settings)
    entries = photos_of(folder, settings)
    tools = open_tools(settings)
    check_people(settings.people, labelled="people" not in parts, detector_name=tools.detector.name)
    one_thread()
    found: dict[str, Any] = {
        "machine": machine() | versions(),
        "input": {"name": folder.resolve().name, "files": len(entries), "people": len({e.person for e in entries})},
        "settings": without_paths_in(asdict(settings)),
        "models": tools.about(),
    }
    if "alignment" in parts:
        found["alignment"] = alignments(entries, settings, yunet=yunet, progress=progress)
    if "stages" in parts or "people" in parts:
        clock, briefs = looked_at(entries, tools, settings, progress)
        found |= {"stages": stages(clock, len(entries))} if "stages" in parts else {}
        found |= {"people": people(briefs, entries, tools, settings)} if "people" in parts else {}
    if "run" in parts:
        found["run"] = runs(folder, entries, settings, times=times)
    return found


def photos_of(folder: Path, settings: PrepareConfig) -> list[Entry]:
    entries = list_entries(folder, settings.layout)
    people = {entry.person for entry in entries}
    if None in people or len(people) < 2:
        raise UserError(f"{folder}: give a folder with a folder for each person, two or more, and nothing beside them")
    return entries


def versions() -> dict[str, Any]:
    """Of what the preparation uses, where it is installed; cores of the whole machine."""
    found: dict[str, Any] = {"cores of the machine": os.cpu_count()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


# Stages: the row of stages in this process, each part with its own clock


@dataclass
class Clock:
    """Seconds of CPU time (of this process, all threads) and calls of each part."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.process_time()
        try:
            yield
        finally:
            self.seconds[name] += time.process_time() - began
            self.calls[name] += 1

    def timed(self, name: str, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        with self.part(name):
            return call(*args, **named)


class Timed:
    """A model some of whose methods (method -> part) are timed; otherwise that model."""

    def __init__(self, model: Any, clock: Clock, **methods: str) -> None:
        self._model, self._clock, self._methods = model, clock, methods

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._model, name)
        return partial(self._clock.timed, self._methods[name], value) if name in self._methods else value


def timed_tools(tools: Tools, clock: Clock) -> Tools:
    detector: Any = Timed(tools.detector, clock, detect="detect: faces", head_mask="masks: head")
    covers: list[Any] = [Timed(one, clock, share=f"cover: {one.name}") for one in tools.covers]
    known = tools.recogniser
    recogniser: Any = None if known is None else Timed(known, clock, embed=f"person: {known.name}")
    return Tools(detector, covers, recogniser, tools.captioner, tools.attributes)


def looked_at(
    entries: Sequence[Entry], tools: Tools, settings: PrepareConfig, progress: Progress
) -> tuple[Clock, list[Brief]]:
    """Every entry through the row of stages; what deciding on the whole set needs of the samples, names forgotten."""
    clock, briefs = Clock(), []
    timed = timed_tools(tools, clock)
    for done, entry in enumerate(entries, 1):
        with clock.part("decode"), suppress(Unfit):
            decode(entry, settings.decode)
        with clock.part("seen"):
            seen = list(fit_faces(entry, timed, settings, []))
        with clock.part("caption"):
            described = captions(seen, tools, settings) if seen else []
        for one, (caption, by) in zip(seen, described, strict=True):
            with clock.part("encode: JPEG and masks"):
                sample = packed(one, caption, by, settings)
            row = sample.row
            briefs.append(
                Brief(row.sample, None, row.sha256, sample.perceptual_hash, row.quality, sample.embedding, row.name)
            )
        progress("stages", done, len(entries))
    return clock, briefs


def stages(clock: Clock, pictures: int) -> dict[str, Any]:
    """Milliseconds of each part for a picture of the input: not every picture comes to every stage. What is in `seen`
    and in no other part are the measurements: size, pose, quality, and the drawing of masks and crop."""
    seconds = dict(clock.seconds)
    whole = seconds.pop("seen")
    inside = sum(value for name, value in seconds.items() if name == "decode" or name.startswith(INSIDE))
    seconds["size, pose, quality, masks, crop"] = max(0.0, whole - inside)
    order = sorted(seconds, key=lambda name: ORDER.index(name.partition(":")[0]))
    total = sum(seconds.values())
    return {
        "n": pictures,
        "cpu_ms_per_picture": {name: round(1000 * seconds[name] / pictures, 2) for name in order},
        "calls": {name: clock.calls[name] for name in order if name in clock.calls},
        "cpu_ms_whole": round(1000 * total / pictures, 2),
        "pictures_per_cpu_second": round(pictures / total, 2),
    }


INSIDE = ("detect", "masks", "cover", "person")  # parts of `seen`
ORDER = ("decode", "detect", "size, pose, quality, masks, crop", "masks", "cover", "person", "caption", "encode")


# People: without the folders' names


def people(briefs: Sequence[Brief], entries: Sequence[Entry], tools: Tools, settings: PrepareConfig) -> dict[str, Any]:
    """How right the people are that the preparation finds in pictures that name nobody, with its own distances: the
    figures of `bench.people`."""
    known = tools.recogniser
    if known is None:
        return {"skipped": "no face recogniser is here, or the settings want none"}
    verdict = decide(briefs, settings.people, settings.duplicates, outlier=known.outlier, cluster=known.cluster)
    person = {entry.name: str(entry.person) for entry in entries}
    stay = [brief for brief in briefs if brief.sample in verdict.person and brief.embedding is not None]
    if len({person[brief.name] for brief in stay}) < 2:
        return {"skipped": "faces of fewer than two people are left"}
    truth = np.unique([person[brief.name] for brief in stay], return_inverse=True)[1]
    groups = np.unique([verdict.person[brief.sample] for brief in stay], return_inverse=True)[1]
    faces = LabelledFaces(np.array([brief.embedding for brief in stay], np.float32), truth)
    outlier = known.outlier if settings.people.outlier is None else settings.people.outlier
    return {
        "recogniser": known.name,
        "cluster": known.cluster if settings.people.cluster is None else settings.people.cluster,
        "outlier": outlier,
        "pictures": len(stay),
        "people": int(truth.max()) + 1,
        "people_found": int(groups.max()) + 1,
        **{name: one.as_json() for name, one in figures(faces, groups, outlier=outlier).items()},
    }


# The command itself


def runs(folder: Path, entries: Sequence[Entry], settings: PrepareConfig, *, times: int) -> dict[str, Any]:
    """One worker, on the folder, and on one of `times` as many pictures. The command shows its own progress."""
    with tempfile.TemporaryDirectory(prefix="facefact-bench-") as temporary:
        place = Path(temporary)
        once, made = prepared(folder, place / "one", settings)
        found: dict[str, Any] = {"workers": 1, "kept": kept(place / "one", made, entries)}
        found["once"] = cost(once, len(entries))
        if times > 1:
            copied = copies(folder, entries, place / "copies", times)
            alone = replace(settings, duplicates=DuplicateSettings(distance=None))
            many, more = prepared(copied, place / "many", alone)
            found["times"] = times
            found["many"] = cost(many, more["inputs"]) | {"kept": more["kept"], "duplicates.distance": None}
            found |= growth(found["once"], found["many"])
    return found


def prepared(folder: Path, out: Path, settings: PrepareConfig) -> tuple[Watched, dict[str, Any]]:
    """What `facefact prepare` costs, and what it says of what it made."""
    config = out.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(asdict(settings)), encoding="utf-8")
    watched = watch(["prepare", str(folder), "--out", str(out), "--config", str(config), "--workers", "1", "--json"])
    return watched, json.loads(watched.output)


def kept(out: Path, made: dict[str, Any], entries: Sequence[Entry]) -> dict[str, Any]:
    """The share of the input that became samples, with its interval over people, and the reasons of the rest."""
    person = {entry.name: number for entry, number in zip(entries, person_numbers(entries).tolist(), strict=True)}
    names = [row["name"] for row in read_rows(out / INDEX, ["name"])]
    lost = [row["name"] for row in read_rows(out / REJECTED, ["name"])]
    stays = np.array([1.0] * len(names) + [0.0] * len(lost))
    share: Figure = figure(stays, np.array([person[name] for name in names + lost]))
    reasons = {f"{one['stage']}: {one['reason']}": one["count"] for one in made["rejected"]}
    return {
        "inputs": made["inputs"],
        "kept": made["kept"],
        "people": made["people"],
        "share": share.as_json(),
        "rejected": dict(sorted(reasons.items(), key=lambda one: (-one[1], one[0]))),
    }


def copies(folder: Path, entries: Sequence[Entry], target: Path, times: int) -> Path:
    """A folder of `times` as many pictures of `times` as many people. A few bytes behind a picture's end change the
    file, and nothing that is seen."""
    for entry in entries:
        path = entry.place.path
        inside = path.relative_to(folder.absolute())
        content = path.read_bytes()
        for number in range(times):
            copy = target / f"{inside.parts[0]}~{number}" / Path(*inside.parts[1:])
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content + (f"\ncopy {number}".encode() if number else b""))
    return target


def cost(watched: Watched, pictures: int) -> dict[str, Any]:
    return {
        "n": pictures,
        "wall_seconds": round(watched.wall, 2),
        "cpu_seconds": round(watched.cpu, 2),
        "pictures_per_second": round(pictures / watched.wall, 3),
        "pictures_per_cpu_second": round(pictures / watched.cpu, 3),
        "peak_mib": {"parent": watched.parent, "worker": watched.worker}
        if watched.parent
        else {"skipped": "this system has no /proc"},
        "curve": watched.curve,
    }


def growth(once: dict[str, Any], many: dict[str, Any]) -> dict[str, Any]:
    """What each further picture costs; the rest of a small run is starting: imports, models."""
    more = many["n"] - once["n"]
    each = (many["cpu_seconds"] - once["cpu_seconds"]) / more
    found: dict[str, Any] = {
        "cpu_seconds_per_further_picture": round(each, 4),
        "cpu_seconds_to_start": round(once["cpu_seconds"] - each * once["n"], 2),
    }
    if "parent" in once["peak_mib"]:
        found["kib_per_further_picture"] = {
            name: round((many["peak_mib"][name] - once["peak_mib"][name]) * 1024 / more, 2)
            for name in ("parent", "worker")
        }
    return found

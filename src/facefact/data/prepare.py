"""The whole preparation: list, look (an engine), decide, write, explain. Interrupted anywhere, the same call goes on.

DATASET/shards/<split>-00000.tar    the samples, as WebDataset reads them
DATASET/index.parquet               a row for each; written last: where it is, the dataset is whole
DATASET/rejected.parquet            a row for everything that is not a sample, with stage and reason
DATASET/prepare.json                settings, models, counts
DATASET/report.html, dataset_card.md
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import facefact
from facefact.checkpoint import locked
from facefact.data.card import write_card
from facefact.data.dataset import ABOUT, INDEX, REJECTED, SHARDS, IndexRow, PreparedDataset
from facefact.data.decode import decode
from facefact.data.engine import Engine, Open, Task
from facefact.data.folders import is_picture
from facefact.data.inputs import list_entries
from facefact.data.local import LocalEngine
from facefact.data.people import check_people, decide
from facefact.data.prepare_config import PrepareConfig, check_limits
from facefact.data.records import Entry, Rejection, Unfit, Verdict
from facefact.data.report import Example, choose, drawn, write_report
from facefact.data.stages import Tools, open_tools
from facefact.data.tables import arrow, read_records
from facefact.data.work import Work, chunk_key, deciding_text
from facefact.data.write import write_rejected, write_samples
from facefact.page import without_paths
from facefact.types import UserError

WORK = ".work"
Progress = Callable[[str, int, int | None], None]  # what is done, how much of it, of how much


@dataclass(frozen=True)
class Prepared:
    """inputs: entries of the input. kept: samples. people: of the samples. rejected: (stage, reason) -> how many.
    again: whether the dataset was there already."""

    folder: Path
    inputs: int
    kept: int
    people: int
    splits: dict[str, int]
    rejected: dict[tuple[str, str], int]
    again: bool = False


def quiet(what: str, done: int, of: int | None) -> None:
    """No progress."""


def prepare(
    source: Path,
    out: Path,
    settings: PrepareConfig | None = None,
    *,
    engine: Engine | None = None,
    open_with: Open = open_tools,
    progress: Progress = quiet,
) -> Prepared:
    """Make a clean training set of pictures of people (see `inputs` for how they may lie).

    engine: who does the work, default this machine's cores. open_with: how the models are got. UserError: no input, a
    model that cannot be had, a folder that holds something else or a dataset of other pictures or settings, no picture
    that is fit (the report says why).
    """
    if Path(source).resolve() in (Path(out).resolve(), *Path(out).resolve().parents):
        raise UserError(f"{out} lies inside {source}: the dataset would become its own input; give a folder elsewhere")
    settings, engine = settings or PrepareConfig(), engine or LocalEngine(open_with=open_with)
    check_limits(settings)
    arrow()
    entries = list_entries(source, settings.layout, progress=lambda count: progress("list", count, None))
    tools = open_with(settings)
    named = all(entry.person for entry in entries if is_picture(entry.name)) and settings.face.several != "each"
    check_people(settings.people, labelled=named, detector_name=tools.detector.name)
    tasks = planned(entries, settings, tools)
    check_folder(out)
    with locked(out):
        if (found := finished_before(out, tasks, settings)) is not None:
            if (out / WORK).is_dir():  # it was killed after the index, before the report
                explain(out, {entry.name: entry for entry in entries}, settings, progress)
                shutil.rmtree(out / WORK)
            return found
        work = Work(out / WORK)
        run_engine(tasks, settings, engine, work, progress)
        keys = [task.key for task in tasks]
        verdict = decided(keys, work, settings, tools)
        made = write(out, source, entries, tasks, work, verdict, settings, tools)
        explain(out, {entry.name: entry for entry in entries}, settings, progress)
        shutil.rmtree(out / WORK)
    if not made.kept:
        raise UserError(f"none of {len(entries)} pictures is fit for training: {out / 'report.html'} says why")
    return made


# What there is to do


def planned(entries: Sequence[Entry], settings: PrepareConfig, tools: Tools) -> list[Task]:
    """Chunks of entries, in the input's order, each with the key under which its result is kept."""
    decides = asdict(settings)
    for name in ("layout", "chunk", "people", "duplicates"):
        decides.pop(name)  # they decide about the whole set, or nothing
    decides["write"].pop("shard")
    deciding = deciding_text(decides, tools.about())
    chunks = [entries[i : i + settings.chunk] for i in range(0, len(entries), settings.chunk)]
    return [Task(chunk_key(chunk, deciding), chunk) for chunk in chunks]


def check_folder(out: Path) -> None:
    """UserError: it holds something that no preparation has made, or it may not be looked into."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give a folder for the dataset")
    known = {WORK, INDEX, REJECTED, SHARDS, ABOUT, ".lock"}
    try:
        strange = sorted(set(os.listdir(out)) - known) if out.is_dir() else []
    except OSError as error:
        raise UserError(f"{out} cannot be read ({error.strerror}): give another folder") from error
    if strange and not (out / ABOUT).is_file() and not (out / WORK).is_dir():
        raise UserError(f"{out} holds other things ({strange[0]}): give an empty folder for the dataset")


def fingerprint(tasks: Sequence[Task], settings: PrepareConfig) -> str:
    """Of all that decides the dataset."""
    text = json.dumps([[task.key for task in tasks], asdict(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def finished_before(out: Path, tasks: Sequence[Task], settings: PrepareConfig) -> Prepared | None:
    """The dataset that is there already. UserError: it was made of other pictures or with other settings."""
    if not (out / INDEX).is_file():
        return None
    try:
        about = json.loads((out / ABOUT).read_text(encoding="utf-8"))
        before, counts = about["fingerprint"], about["counts"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{out / ABOUT} is missing or damaged: remove {out} and prepare again") from error
    if before != fingerprint(tasks, settings):
        raise UserError(
            f"{out} holds a dataset of other pictures or with other settings: give another folder, or remove it"
        )
    rejected = {(stage, reason): n for stage, reasons in counts["rejected"].items() for reason, n in reasons.items()}
    return Prepared(out, counts["inputs"], counts["kept"], counts["people"], counts["splits"], rejected, again=True)


# The work


def run_engine(tasks: Sequence[Task], settings: PrepareConfig, engine: Engine, work: Work, progress: Progress) -> None:
    """Every entry ends in a finished chunk."""
    left = [task for task in tasks if not work.has(task.key)]
    whole = sum(len(task.entries) for task in tasks)
    done = whole - sum(len(task.entries) for task in left)
    progress("look", done, whole)

    def finished(count: int) -> None:
        nonlocal done
        done += count
        progress("look", done, whole)

    engine.run(left, settings, work, finished)


def decided(keys: Sequence[str], work: Work, settings: PrepareConfig, tools: Tools) -> Verdict:
    """Duplicates, who is who, and the split: what only the whole set can say."""
    briefs = list(chain.from_iterable(work.briefs(key) for key in keys))
    known = tools.recogniser
    return decide(
        briefs,
        settings.people,
        settings.duplicates,
        outlier=known.outlier if known else None,
        cluster=known.cluster if known else None,
    )


def write(
    out: Path,
    source: Path,
    entries: Sequence[Entry],
    tasks: Sequence[Task],
    work: Work,
    verdict: Verdict,
    settings: PrepareConfig,
    tools: Tools,
) -> Prepared:
    """First beside the place, then moved into it, the index last."""
    new, keys = out / WORK / "dataset", [task.key for task in tasks]
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    splits = write_samples(new, keys, work, verdict, shard=settings.write.shard)
    rejected = write_rejected(new, keys, work, verdict)
    people = len(set(verdict.person.values()))
    made = Prepared(out, len(entries), splits.total(), people, dict(splits), dict(rejected))
    (new / ABOUT).write_text(described(made, source, tasks, settings, tools), encoding="utf-8")
    shutil.rmtree(out / SHARDS, ignore_errors=True)
    for name in (SHARDS, REJECTED, ABOUT, INDEX):
        os.replace(new / name, out / name)
    return made


def described(made: Prepared, source: Path, tasks: Sequence[Task], settings: PrepareConfig, tools: Tools) -> str:
    """prepare.json: without paths of this machine, and without times."""
    reasons: dict[str, dict[str, int]] = {}
    for (stage, reason), count in sorted(made.rejected.items()):
        reasons.setdefault(stage, {})[reason] = count
    about = {
        "format": 1,
        "facefact": facefact.__version__,
        "input": source.resolve().name,
        "layout": settings.layout,
        "counts": {
            "inputs": made.inputs,
            "kept": made.kept,
            "people": made.people,
            "splits": made.splits,
            "rejected": reasons,
        },
        "settings": without_paths_in(asdict(settings)),
        "models": tools.about(),
        "fingerprint": fingerprint(tasks, settings),
    }
    return json.dumps(about, indent=2, ensure_ascii=False) + "\n"


def without_paths_in(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: without_paths_in(value) for name, value in tree.items()}
    return without_paths(tree) if isinstance(tree, str) else tree


# What is there to look at


def explain(out: Path, entries: dict[str, Entry], settings: PrepareConfig, progress: Progress) -> None:
    """The report with drawn examples, and the card."""
    rows, rejected = choose(read_records(out / INDEX, IndexRow), read_records(out / REJECTED, Rejection))
    dataset = PreparedDataset(out, tuple(rows), "")
    whole = len(rows) + len(rejected)
    examples = []
    for row in rows:
        one = dataset.read(row)
        thumbnail = drawn(one.image, box=row.box, landmarks=row.landmarks, face=one.face, head=one.head)
        examples.append(Example(row.name, None, detail=row.caption, picture=thumbnail))
        progress("report", len(examples), whole)
    for left_out in rejected:
        examples.append(
            Example(
                left_out.name,
                left_out.stage,
                left_out.reason,
                left_out.detail,
                rejected_picture(left_out, entries, settings),
            )
        )
        progress("report", len(examples), whole)
    write_report(out, examples)
    write_card(out)


def rejected_picture(one: Rejection, entries: dict[str, Entry], settings: PrepareConfig) -> Any:
    """What of it can be shown; None of what is no picture."""
    if one.stage == "decode" and one.reason == "crash":
        return None
    try:
        picture = decode(entries[one.name], settings.decode)
    except Unfit:
        return None
    return drawn(picture.pixels, box=one.box, landmarks=one.landmarks)

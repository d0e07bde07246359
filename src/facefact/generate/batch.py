"""Many people's portraits from a table of jobs, without a service: one row's error is its own, and the same call again
makes only what is missing.

    rows -> pictures (one file each) -> chunks of pictures that can share a batch -> an engine -> files and an index

Whether a file is the picture that its row asks for, its recipe says: the digest of all that was asked (`job`), and what
it was made with. A row that was changed is made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from facefact.checkpoint import replacing
from facefact.faces import open_picture
from facefact.generate.batch_table import BadRow, Row
from facefact.generate.jobs import SUFFIXES, UNCOMPARED
from facefact.generate.models import one_line
from facefact.generate.prompts import windows
from facefact.generate.provenance import NO_PROVENANCE, Provenance, marked, refuse_unmarkable, save_with, wanting
from facefact.generate.recipe import file_hash, read_recipe
from facefact.generate.studio import CHOSEN_WORDS, Person, Studio
from facefact.generate.text_to_image import Settings, written
from facefact.types import FaceTokens, Portrait, UserError

log = logging.getLogger("facefact")

INDEX = "index.jsonl"
ROOM = 4  # batches in a chunk: among as many pictures those whose prompts are of one length find each other
PEOPLE = 1024  # that are remembered
EVERY = 30.0  # seconds between two writings of the index

OpenStudio = Callable[[], Studio]


@dataclass(frozen=True)
class Picture:
    """One file to be made. settings: with its own seed, without the control image. there: the recipe of the file that
    has its name already. marked: it gets the invisible mark."""

    name: str
    row: Row
    settings: Settings
    there: Mapping[str, Any] | None = None
    marked: bool = False

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal for pictures that may share a batch."""
        alike = replace(self.settings, prompt="", negative_prompt="", seed=0)
        return alike, len(self.row.faces), self.row.control_image


@dataclass(frozen=True)
class Made:
    """What became of a picture: a portrait, an error in one line, or neither: the file that is there is right."""

    name: str
    portrait: Portrait | None = None
    error: str | None = None


class Engine(Protocol):
    def run(self, chunks: Sequence[Sequence[Picture]]) -> Iterator[Made]:
        """All pictures, in any order. Never raises because of a picture."""
        ...


@dataclass(frozen=True)
class Entry:
    """A line of the index. file: in the index's folder. state: queued, done or failed; error says why it failed."""

    row: int
    id: str
    file: str | None = None
    seed: int | None = None
    state: str = "queued"
    error: str | None = None


@dataclass(frozen=True)
class Result:
    """index: a line for every picture and every bad row, in the table's order. made, kept: numbers of pictures that
    were made now, and that were there."""

    index: list[Entry]
    made: int
    kept: int

    @property
    def failed(self) -> list[Entry]:
        return [entry for entry in self.index if entry.state == "failed"]


def make_batch(
    rows: Sequence[Row | BadRow],
    out: Path,
    engine: Engine,
    *,
    batch: int = 1,
    form: str = "png",
    overwrite: bool = False,
    provenance: Provenance = NO_PROVENANCE,
    on_picture: Callable[[Made, int, int], None] | None = None,
) -> Result:
    """Makes what is missing of the rows' pictures in the folder `out`, and the index there. An interruption leaves
    whole files and an index of them.

    batch: pictures at a time. form: png, jpeg or webp. overwrite: make all, whatever is there. provenance: how files
    are signed and marked, here, wherever they were made; one that lacks it is made again. on_picture: is told of each,
    with the numbers of pictures done and of all. UserError, before any work: a file has the name of a picture
    and was not made so; or later: what the disk does not take.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file, no folder for pictures: choose another --out")
    pictures = _pictures(rows, out, form=form, overwrite=overwrite, provenance=provenance)
    photos = {one.name: one.row.faces for one in pictures}
    index = _Index(out, rows, pictures)
    counts = {"made": 0, "kept": 0}
    index.write()
    try:
        chunks = _chunks(pictures, ROOM * batch)
        for number, made in enumerate(engine.run(chunks), 1):
            made = _saved(made, out, replace(provenance, photos=photos[made.name]))
            if made.error is None:
                counts["made" if made.portrait else "kept"] += 1
            index.note(made)
            if on_picture is not None:
                on_picture(made, number, len(pictures))
    finally:
        index.write()
    return Result(list(index.entries.values()), **counts)


def _saved(made: Made, out: Path, provenance: Provenance) -> Made:
    """The same, on the disk if it is a portrait. A picture that is too small for a mark is that picture's error; what
    the disk does not take, or a signature, is everybody's, and ends the work."""
    if made.portrait is None:
        return made
    if provenance.watermark:
        try:
            made = replace(made, portrait=marked(made.portrait))
        except UserError as error:
            return Made(made.name, error=str(error))
    assert made.portrait is not None
    save_with(replace(provenance, watermark=False), made.portrait, out / made.name)
    return made


def _pictures(
    rows: Sequence[Row | BadRow], out: Path, *, form: str, overwrite: bool, provenance: Provenance
) -> list[Picture]:
    found = []
    for row in rows:
        if isinstance(row, BadRow):
            continue
        for seed in range(row.settings.seed, row.settings.seed + row.count):
            name = f"{row.id}-{seed}{SUFFIXES[form]}"
            there = None if overwrite or not (out / name).exists() else _recipe_there(out / name)
            if there is not None and wanting(out / name, there, provenance):
                there = None
            found.append(Picture(name, row, replace(row.settings, seed=seed), there, provenance.watermark))
    return found


def _recipe_there(path: Path) -> dict[str, Any]:
    """UserError: no table made the file, and it is not replaced unless somebody says so."""
    try:
        recipe = read_recipe(path)
    except UserError:
        recipe = {}
    if "job" not in recipe:
        raise UserError(f"{path} was not made from a table of jobs: choose another --out, or say --overwrite")
    return recipe


def _chunks(pictures: Sequence[Picture], size: int) -> list[list[Picture]]:
    """Pictures that may share a batch together, and in these those of one person."""
    kinds: dict[Any, dict[Any, list[Picture]]] = {}
    for one in pictures:
        kinds.setdefault(one.kind, {}).setdefault((one.row.faces, one.row.which), []).append(one)
    found = []
    for people in kinds.values():
        alike = [one for person in people.values() for one in person]
        found += [alike[i : i + size] for i in range(0, len(alike), size)]
    return found


class _Index:
    """What became of every picture, in a file of JSON lines that is whole whenever somebody reads it."""

    def __init__(self, out: Path, rows: Sequence[Row | BadRow], pictures: Sequence[Picture]) -> None:
        self.path = out / INDEX
        self.entries: dict[str | int, Entry] = {}
        of_row: dict[int, list[Picture]] = {}
        for one in pictures:
            of_row.setdefault(one.row.number, []).append(one)
        for row in rows:
            if isinstance(row, BadRow):
                self.entries[row.number] = Entry(row.number, row.id, state="failed", error=row.error)
            for one in of_row.get(row.number, ()):
                self.entries[one.name] = Entry(row.number, row.id, one.name, one.settings.seed)
        self._written = 0.0

    def note(self, made: Made) -> None:
        state = "done" if made.error is None else "failed"
        self.entries[made.name] = replace(self.entries[made.name], state=state, error=made.error)
        if time.monotonic() - self._written > EVERY:
            self.write()

    def write(self) -> None:
        lines = [json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in self.entries.values()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from error
        self._written = time.monotonic()


class LocalEngine:
    """This process, with one model."""

    def __init__(self, open_studio: OpenStudio, *, batch: int = 1) -> None:
        self.open_studio, self.batch = open_studio, batch

    def run(self, chunks: Sequence[Sequence[Picture]]) -> Iterator[Made]:
        if not chunks:
            return
        maker = Maker(self.open_studio(), batch=self.batch)
        with SaidOnce():
            for chunk in chunks:
                yield from maker.make(chunk)


@dataclass(frozen=True)
class _Someone:
    """A person, without the pictures of their faces."""

    person: Person
    tokens: FaceTokens


@dataclass(frozen=True)
class _Task:
    name: str
    settings: Settings
    tokens: FaceTokens
    origin: Mapping[str, Any]


class Maker:
    """A Studio that makes pictures of many people. Each set of photos is looked at once, as long as it is remembered
    (the `PEOPLE` that were asked for last)."""

    def __init__(self, studio: Studio, *, batch: int = 1) -> None:
        self.studio, self.batch = studio, batch
        self._people: OrderedDict[Any, _Someone | UserError] = OrderedDict()

    def make(self, pictures: Sequence[Picture]) -> Iterator[Made]:
        """What becomes of each, those first that need no work. Errors are results."""
        tasks = []
        for one in pictures:
            try:
                task = self._task(one)
            except Exception as error:  # a hostile photo may raise anything in a decoder
                yield Made(one.name, error=_line(error))
                continue
            if task is None:
                yield Made(one.name)
            else:
                tasks.append(task)
        tasks.sort(key=lambda task: self._windows(task.settings))
        yield from self._paint(tasks)

    def _task(self, one: Picture) -> _Task | None:
        """None: the file that is there is what is asked for."""
        row = one.row
        hashes = tuple(_hash(path) for path in row.faces)
        settings = one.settings
        if row.control_image is not None:
            settings = replace(settings, control_image=Image.fromarray(open_picture(row.control_image)))
        scheduler = type(self.studio.pipe.scheduler).__name__  # (the model's own is not among the Studio's origin)
        asked = [written(settings), hashes, row.which, self.studio.exact_prompt, scheduler, row.origin]
        job = hashlib.sha256(json.dumps(asked, sort_keys=True, default=dict).encode()).hexdigest()
        origin = self.studio.origin | {"job": job}
        compared = {name: value for name, value in origin.items() if name not in UNCOMPARED}
        if one.there is not None and all(one.there.get(name) == value for name, value in compared.items()):
            return None
        if one.marked:
            refuse_unmarkable(self.studio.pipe, settings)
        someone = self._someone(hashes, row)
        if not self.studio.exact_prompt:
            settings = replace(settings, prompt=someone.person.prompts([settings.prompt])[0])
        return _Task(one.name, settings, someone.tokens, someone.person.origin | dict(row.origin) | {"job": job})

    def _windows(self, settings: Settings) -> int:
        """Of the text encoder: pictures of different numbers do not share a batch."""
        return windows(self.studio.pipe, settings.prompt, settings.negative_prompt)

    def _someone(self, hashes: tuple[str, ...], row: Row) -> _Someone:
        """Remembered, or found in the photos. UserError: nobody is found there, now as before."""
        key = (hashes, row.which)
        if key not in self._people:
            try:
                person = self.studio.find_person(row.faces, which=row.which)
                tokens = self.studio.tokens(person)
                self._people[key] = _Someone(replace(person, crops=[]), tokens)
            except UserError as error:
                self._people[key] = error
            while len(self._people) > PEOPLE:
                self._people.popitem(last=False)
        self._people.move_to_end(key)
        known = self._people[key]
        if isinstance(known, UserError):
            raise known
        return known

    def _paint(self, tasks: Sequence[_Task]) -> Iterator[Made]:
        """In batches. The pictures of a batch that fails are made alone: only those that fail alone have failed."""
        left = list(tasks)
        while left:
            try:
                for portrait in self._portraits(left, self.batch):
                    yield Made(left.pop(0).name, portrait)
            except Exception:
                log.debug("a batch from %s on failed", left[0].name, exc_info=True)
                for task in [left.pop(0) for _ in range(min(self.batch, len(left)))]:
                    yield self._alone(task)

    def _alone(self, task: _Task) -> Made:
        try:
            return Made(task.name, next(self._portraits([task], 1)))
        except Exception as error:
            return Made(task.name, error=_line(error))

    def _portraits(self, tasks: Sequence[_Task], batch: int) -> Iterator[Portrait]:
        return self.studio.text_to_images(
            [task.tokens for task in tasks],
            [task.settings for task in tasks],
            batch=batch,
            origin=[task.origin for task in tasks],
        )


def _hash(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _line(error: Exception) -> str:
    text = one_line(error)
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


class SaidOnce(logging.Handler):
    """While it is open, a warning about many rows is logged once; `said` are all that were logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        key = record.msg if record.msg == CHOSEN_WORDS else text
        if key not in self.said:
            self.said[key] = text
            logging.getLogger().handle(record)

    def __enter__(self) -> SaidOnce:
        self._propagated, log.propagate = log.propagate, False
        log.addHandler(self)
        return self

    def __exit__(self, *_: Any) -> None:
        log.removeHandler(self)
        log.propagate = self._propagated


def summary(result: Result) -> Iterable[str]:
    """For people: the numbers, then the first errors."""
    yield f"{result.made} made, {result.kept} there already, {len(result.failed)} failed"
    for entry in result.failed[:10]:
        yield f"  row {entry.row} ({entry.id}): {entry.error}"
    if len(result.failed) > 10:
        yield f"  ... and {len(result.failed) - 10} more: see {INDEX}"

"""Pictures that lie in folders, as files."""

from __future__ import annotations

import heapq
import json
import os
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facefact.data.description import (
    DESCRIBING,
    MAX_TEXT,
    NOTHING,
    Description,
    description_in,
    description_of,
    printable,
)
from facefact.data.records import Entry, Place
from facefact.faces.files import is_nothing, is_picture, suffix_of
from facefact.types import UserError

METADATA = "metadata.jsonl"


@dataclass(frozen=True)
class Folder:
    """One visible folder. path: below the root, with slashes; "" for the root. files: names of what is in it and no
    folder, None where it may not be read."""

    path: str
    files: list[str] | None


def walk(root: Path, found: Callable[[int], None] = lambda count: None) -> list[Folder]:
    """All visible folders at and below `root`, each once, whatever links there are. UserError: root cannot be read.

    Links to folders are followed after the folders themselves, and only to what has not been seen: a picture is named
    by where it lies rather than by a link to it, and no circle of links is walked twice. `found` is told how many files
    have been seen so far.
    """
    seen = {_identity(str(one)) for one in Path(os.path.realpath(root)).parents}  # a link upwards leaves the input
    folders: list[Folder] = []
    waiting, links, count = [""], list[str](), 0
    while waiting or links:
        path = waiting.pop() if waiting else heapq.heappop(links)
        identity = _identity(os.path.join(root, path))
        if identity in seen and path:
            continue
        seen.add(identity)
        try:
            files, inner, linked = _scan(os.path.join(root, path))
        except OSError as error:
            if not path:
                raise UserError(f"{root} cannot be read: {error.strerror}") from error
            folders.append(Folder(path, None))
            continue
        waiting += [posixpath.join(path, name) for name in inner]
        for name in linked:
            heapq.heappush(links, posixpath.join(path, name))
        folders.append(Folder(path, files))
        count += len(files)
        found(count)
    return folders


def _identity(path: str) -> object:
    """The same for two names of one folder; of one that cannot be looked at, its name."""
    try:
        status = os.stat(path)
    except OSError:
        return path
    return status.st_dev, status.st_ino


def _scan(path: str) -> tuple[list[str], list[str], list[str]]:
    """Visible names in a folder: what is no folder, folders, links to folders."""
    files, inner, linked = [], [], []
    with os.scandir(path) as entries:
        for entry in entries:
            if is_nothing(entry.name):
                continue
            if not _is_folder(entry):
                files.append(entry.name)
            elif entry.is_symlink():
                linked.append(entry.name)
            else:
                inner.append(entry.name)
    return files, inner, linked


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def list_files(
    root: Path, folders: list[Folder], rows: Mapping[str, Description], *, named_by_folders: bool
) -> list[Entry]:
    """An entry for everything that is no metadata, picture or not: who prepares must hear of it.

    Metadata are `metadata.jsonl` (`rows`, see `read_rows`), `.json`, and `.txt`, `.caption` and `.tags` beside a
    picture of the same name; this is also the order in which they are believed. A row that names no file gives an entry
    that cannot be read.
    named_by_folders: a picture belongs to the person that its top folder is named after, if the metadata name none.
    """
    entries = {}
    for folder in folders:
        if folder.files is None:
            entries[folder.path + "/"] = _entry(root, folder.path + "/", NOTHING)
            continue
        beside = _beside(folder.files)
        for name in folder.files:
            path = posixpath.join(folder.path, name)
            if path not in rows and _is_metadata(name, beside):
                continue
            description = rows.get(path, NOTHING)
            if is_picture(name):
                for other in beside[_stem(name)]:
                    description = description.over(_description_beside(os.path.join(root, folder.path, other)))
            if named_by_folders and "/" in path:
                description = description.over(Description(person=printable(path.split("/", 1)[0])))
            entries[path] = _entry(root, path, description)
    entries |= {path: _entry(root, path, description) for path, description in rows.items() if path not in entries}
    return list(entries.values())


def _entry(root: Path, path: str, description: Description) -> Entry:
    return Entry(printable(path), Place(root / path), **asdict(description))


def _stem(name: str) -> str:
    return name.rsplit(".", 1)[0]


def _beside(files: list[str]) -> dict[str, list[str]]:
    """Stem of each picture of a folder -> the names of its metadata, the JSON first."""
    beside: dict[str, list[str]] = {_stem(name): [] for name in files if is_picture(name)}
    for name in sorted(files):
        if suffix_of(name) in DESCRIBING and _stem(name) in beside:
            beside[_stem(name)].append(name)
    return {stem: sorted(names, key=lambda name: DESCRIBING.index(suffix_of(name))) for stem, names in beside.items()}


def _is_metadata(name: str, beside: Mapping[str, list[str]]) -> bool:
    return name == METADATA or suffix_of(name) == "json" or name in beside.get(_stem(name), ())


def _description_beside(path: str) -> Description:
    """What a file beside a picture says; nothing where it cannot be read or is too long to be a caption."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_TEXT + 1)
    except OSError:
        return NOTHING
    if len(content) > MAX_TEXT:
        return NOTHING
    return description_in(suffix_of(path), content)


def caption_beside(picture: Path) -> str | None:
    """What the first of `.txt`, `.caption` and `.tags` beside a picture says, in one line; None where nothing does."""
    files = [picture.with_suffix(f".{suffix}") for suffix in DESCRIBING if suffix != "json"]
    return next((words for file in files if (words := _description_beside(str(file)).caption)), None)


# metadata.jsonl


def read_metadata(folder: Path) -> dict[str, dict[str, Any]]:
    """file_name -> its row, with its line's number as "line"; of two rows for one file, the later. Empty where there is
    no `metadata.jsonl` in the folder. UserError, with the line: a row that is none."""
    return dict(_lines(folder / METADATA))


def _lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not file.is_file():
        return
    try:
        with open(file, "rb") as lines:
            for number, line in enumerate(lines, 1):
                text = line.decode("utf-8-sig", errors="replace").strip()
                if text:
                    yield _row(file, number, text)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error


def _row(file: Path, number: int, text: str) -> tuple[str, dict[str, Any]]:
    try:
        row = json.loads(text)
        return Path(row["file_name"]).as_posix(), {**row, "line": number}
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError(f'{file} line {number} is no JSON object with a "file_name"') from None


def read_rows(root: Path, folders: list[Folder]) -> dict[str, Description]:
    """Paths below the root -> what the `metadata.jsonl` of their folder, or of one above, say of them. UserError: a row
    that is none, or a path that leads out of its folder."""
    rows = {}
    for folder in folders:
        if METADATA not in (folder.files or ()):
            continue
        for name, row in read_metadata(root / folder.path).items():
            path = posixpath.normpath(name)
            if posixpath.isabs(path) or path.split("/")[0] == "..":
                where = printable(str(root / folder.path / METADATA))
                raise UserError(f"{where} line {row['line']} names {printable(name)}, which lies outside its folder")
            rows[posixpath.join(folder.path, path)] = description_of(row)
    return rows

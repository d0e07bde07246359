"""What there is to prepare: an entry for every input picture, and its bytes when its turn comes.

Layouts: "people" (a folder per person), "flat" (folders that name nobody), "metadata" (folders with `metadata.jsonl`),
"parquet", "webdataset" (tars); "auto" looks which it is.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from facefact.data.description import one_line, printable
from facefact.data.folders import METADATA, Folder, list_files, read_rows, walk
from facefact.data.parquet_rows import list_parquet, read_cell
from facefact.data.records import Entry, Place, Unfit
from facefact.data.tars import list_tar, read_member
from facefact.faces.files import SUFFIXES, is_picture, warn_of_unreadable
from facefact.types import UserError

LAYOUTS = ("auto", "people", "flat", "metadata", "parquet", "webdataset")
SHARDS = {"parquet": ".parquet", "webdataset": ".tar"}

Progress = Callable[[int], None]


def list_entries(path: Path, layout: str = "auto", *, progress: Progress | None = None) -> list[Entry]:
    """Every input below `path` (or in it, if it is a Parquet file or a tar), in a fixed order: files in the byte order
    of their names, and what lies in a Parquet file or a tar as it lies there.

    Everything that is neither hidden nor metadata is an input: no entry has been opened, and some will turn out to be
    no pictures. Beside Parquet files and tars, and beside the picture of a WebDataset sample, other files are not
    looked at. progress: is told, from time to time, how many have been found so far.

    UserError: there is nothing, nothing that looks like pictures, or what looks like several layouts at once.
    """
    if layout not in LAYOUTS:
        raise UserError(f"there is no layout {layout!r}; {', '.join(LAYOUTS)} are known")
    path, named_path = Path(os.path.abspath(path)), printable(os.fspath(path))
    told = _growing(progress)
    if not os.path.exists(path):
        raise UserError(f"there is nothing at {named_path}")
    if not path.is_dir():
        entries = _list_shards([(path, printable(path.name))], _layout_of_file(path, layout), told)
    else:
        folders = walk(path, told)
        rows = read_rows(path, folders)
        if layout == "auto":
            layout = _guessed_layout(path, folders, named=any(row.person for row in rows.values()))
        if layout in SHARDS:
            entries = _list_shards(_shards(path, folders, SHARDS[layout]), layout, told)
        else:
            if layout == "metadata" and not rows:
                raise UserError(f"{named_path} has no {METADATA} with rows, which the layout metadata needs")
            entries = list_files(path, folders, rows, named_by_folders=layout == "people")
            entries.sort(key=lambda entry: entry.name.encode())
    warn_of_unreadable(entry.name for entry in entries if is_picture(entry.name))
    if not entries:
        raise UserError(f"{named_path} holds nothing to prepare (layout {layout}); a folder per person is expected")
    return _unique(entries)


def _growing(progress: Progress | None) -> Progress:
    """Files are counted first, then what lies in them: a count is told only where it is a new highest."""
    highest = 0

    def told(count: int) -> None:
        nonlocal highest
        if progress is not None and count > highest:
            highest = count
            progress(count)

    return told


def _layout_of_file(path: Path, layout: str) -> str:
    """Of a lone file."""
    found = next((name for name, suffix in SHARDS.items() if path.name.lower().endswith(suffix)), None)
    named_path = printable(os.fspath(path))
    if not path.is_file():
        raise UserError(f"{named_path} is neither a folder nor a regular file")
    if layout in SHARDS:
        return layout
    if found is None or layout != "auto":
        kind = "one picture" if is_picture(path.name) else "a lone file"
        raise UserError(f"{named_path} is {kind}: give a folder of pictures, a Parquet file or an uncompressed tar")
    return found


def _guessed_layout(path: Path, folders: list[Folder], *, named: bool) -> str:
    """Which layout a folder has. named: whether its metadata name people."""
    kinds: Counter[str] = Counter()
    top, has_metadata = set(), False
    for folder in folders:
        for name in folder.files or ():
            kinds["pictures" if is_picture(name) else os.path.splitext(name)[1].lower() or "without a suffix"] += 1
            has_metadata = has_metadata or name == METADATA
            if is_picture(name) and folder.path:
                top.add(folder.path.split("/", 1)[0])
    found = [kind for kind in ("pictures", *SHARDS.values()) if kinds[kind]]
    most = sorted(kinds.items(), key=lambda one: (-one[1], one[0]))[:5]
    seen = ", ".join(f"{count} {printable(kind)}" for kind, count in most) or "no files"
    named_path = printable(os.fspath(path))
    if not found:
        suffixes = ", ".join(SUFFIXES[:4])
        raise UserError(f"{named_path} holds no pictures ({suffixes}, ...), Parquet files or tars: {seen}")
    if len(found) > 1:
        layouts = ", ".join(LAYOUTS[1:])
        raise UserError(f"{named_path} may be several things ({seen}): say which by the layout ({layouts})")
    if found[0] != "pictures":
        return next(layout for layout, suffix in SHARDS.items() if suffix == found[0])
    if has_metadata and (named or len(top) < 2):
        return "metadata"
    return "people" if top else "flat"


def _shards(path: Path, folders: list[Folder], suffix: str) -> list[tuple[Path, str]]:
    """The files of a suffix with their printable names below `path`, in byte order."""
    inside = [f"{folder.path}/{name}".lstrip("/") for folder in folders for name in folder.files or ()]
    found = [(path / name, printable(name)) for name in inside if name.lower().endswith(suffix)]
    return sorted(found, key=lambda one: one[1].encode())


def _list_shards(shards: list[tuple[Path, str]], layout: str, told: Progress) -> list[Entry]:
    listing = list_parquet if layout == "parquet" else list_tar
    entries: list[Entry] = []
    for path, file_name in shards:
        entries += listing(path, file_name)
        told(len(entries))
    return entries


def _unique(entries: list[Entry]) -> list[Entry]:
    """A tar may hold two members of one name: the later ones are numbered."""
    names: dict[str, int] = {}  # and how often
    for index, entry in enumerate(entries):
        name = entry.name
        while name in names:
            names[entry.name] += 1
            name = f"{entry.name} ({names[entry.name]})"
        names[name] = 1
        if name != entry.name:
            entries[index] = replace(entry, name=name)
    return entries


def read_bytes(entry: Entry, *, max_bytes: int) -> bytes:
    """The bytes of one input: never none, never more than `max_bytes`. Unfit("decode", ...): "unreadable", "empty",
    "too many bytes", or "damaged" (the tar or the Parquet file that it lies in)."""
    place = entry.place
    try:
        if place.column is not None:
            content = read_cell(place)
        elif place.offset is not None:
            content = read_member(place, max_bytes)
        else:
            content = _read_file(place, max_bytes)
    except UserError:  # what it takes is not installed: no fault of the picture
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = getattr(error, "strerror", None) or str(error)
        raise Unfit("decode", "unreadable", one_line(why) or type(error).__name__) from error
    if not content:
        raise Unfit("decode", "empty", "there are no bytes")
    _check_size(len(content), max_bytes)
    return content


def _read_file(place: Place, max_bytes: int) -> bytes:
    """No more than is allowed, and only of what ends: not of a pipe, which would make us wait."""
    if place.path.is_dir():
        os.listdir(place.path)  # an entry of a folder is there because this failed
        raise Unfit("decode", "unreadable", "a folder that could not be read when the input was listed")
    descriptor = os.open(place.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unfit("decode", "unreadable", "not a regular file")
        _check_size(status.st_size, max_bytes)
        return file.read(max_bytes + 1)


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise Unfit("decode", "too many bytes", f"{size} bytes: more than {max_bytes}")

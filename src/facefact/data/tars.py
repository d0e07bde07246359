"""Pictures that lie in uncompressed tars, as WebDataset groups them: the members of one sample share their name up to
the first dot. They are read where they lie; nothing is unpacked."""

from __future__ import annotations

import io
import os
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from facefact.data.description import (
    MAX_TEXT,
    NOTHING,
    Description,
    description_in_json,
    description_in_text,
    printable,
)
from facefact.data.records import Entry, Place, Unfit
from facefact.faces.picture import SUFFIXES

BLOCK = tarfile.BLOCKSIZE
LONG = tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
MAX_LONG = 1 << 20  # bytes of the headers that carry long names, which are read whole


class Damaged(Exception):
    """The tar ends before its end, or goes on with what is no header. name: of the member whose data are cut."""

    def __init__(self, offset: int, size: int | None = None, name: str | None = None) -> None:
        super().__init__(offset, size, name)
        self.offset, self.size, self.name = offset, size, name


@dataclass
class Sample:
    """The members of one name. parts: (what follows the first dot, member)."""

    parts: list[tuple[str, tarfile.TarInfo]] = field(default_factory=list)
    description: Description = NOTHING

    def inputs(self) -> list[tarfile.TarInfo]:
        """Its pictures: `jpg` rather than `face.jpg` (a mask or a crop of it), which counts where it is alone. Of a
        sample without any, what it has instead, so that somebody hears of it."""
        plain = [member for part, member in self.parts if part in SUFFIXES]
        named = [member for part, member in self.parts if part.rpartition(".")[2] in SUFFIXES]
        others = [member for part, member in self.parts if part not in ("json", "txt")]
        return plain or named or others or [self.parts[0][1]]


def list_tar(path: Path, file_name: str) -> list[Entry]:
    """The pictures of a tar, in its order, and one entry more where it is damaged. file_name: the tar's name.

    Captions come from `.txt`, and captions, people, sources and licences from `.json`."""
    samples: dict[str, Sample] = {}
    damage = []
    try:
        with open(path, "rb") as file:
            for member in members(file):
                _sort_in(samples, member, file)
    except Damaged as error:
        name = f"(from byte {error.offset} on)" if error.name is None else printable(_clean(error.name))
        damage.append(Entry(f"{file_name}/{name}", Place(path, error.offset, error.size)))
    except OSError:  # reading says why
        damage.append(Entry(file_name, Place(path, 0)))
    own = [(member, sample.description) for sample in samples.values() for member in sample.inputs()]
    entries = [_entry(path, file_name, member, description) for member, description in own]
    return entries + damage


def _entry(path: Path, file_name: str, member: tarfile.TarInfo, description: Description) -> Entry:
    name, place = f"{file_name}/{printable(_clean(member.name))}", Place(path, member.offset_data, member.size)
    return Entry(name, place, **asdict(description))


def _clean(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")


def _sort_in(samples: dict[str, Sample], member: tarfile.TarInfo, file: io.BufferedReader) -> None:
    """A member to the others of its name; hidden ones and folders are left out."""
    name = _clean(member.name)
    if member.isdir() or any(part.startswith(".") for part in name.split("/")):
        return
    folder, base = posixpath.split(name)
    key, _, part = base.partition(".")
    part = part.lower()
    sample = samples.setdefault(posixpath.join(folder, key), Sample())
    sample.parts.append((part, member))
    if part in ("json", "txt") and member.size <= MAX_TEXT:
        file.seek(member.offset_data)
        content = file.read(member.size)
        description = description_in_json(content) if part == "json" else description_in_text(content)
        first, second = (description, sample.description) if part == "json" else (sample.description, description)
        sample.description = first.over(second)


def members(file: io.BufferedReader) -> Iterator[tarfile.TarInfo]:
    """All members of a tar, also of several one after the other. Damaged: at the first one that is not whole.

    `tarfile` reads the headers one by one; its own loop takes a damaged header for the tar's end.
    """
    size = os.fstat(file.fileno()).st_size
    start, ended = 0, False
    tar = tarfile.TarFile(fileobj=io.BytesIO(bytes(BLOCK)), encoding="utf-8", errors="surrogateescape")
    tar.fileobj = file  # only now: opening it would read its first header unchecked
    while True:
        file.seek(start)
        block = file.read(BLOCK)
        if not block.strip(b"\0"):  # the end mark, or what fills up behind it
            if len(block) == BLOCK:
                start, ended = start + BLOCK, True
                continue
            if ended:
                return
            raise Damaged(start)
        try:
            member = _member(tar, file, block, start)
        except Exception as error:  # hostile headers make tarfile raise anything
            raise Damaged(start) from error
        if min(member.offset_data + member.size, tar.offset) > size:  # a folder's size may be anything
            raise Damaged(member.offset_data, member.size, member.name)
        yield member
        start, ended = tar.offset, False


def _member(tar: tarfile.TarFile, file: io.BufferedReader, block: bytes, start: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    if header.type in LONG and header.size > MAX_LONG:
        raise ValueError("a name of more than a megabyte")
    file.seek(start)
    member = tarfile.TarInfo.fromtarfile(tar)
    if member.size < 0 or tar.offset <= start:
        raise ValueError("a header that leads backwards")
    return member


def read_member(place: Place, max_bytes: int) -> bytes:
    """Unfit: it is too large, or not whole."""
    offset, size = place.offset or 0, place.size
    with open(place.path, "rb") as file:
        if size is None:
            raise Unfit("decode", "damaged", _what_is_wrong(file, offset))
        if size > max_bytes:
            raise Unfit("decode", "too many bytes", f"{size} bytes: more than {max_bytes}")
        file.seek(offset)
        content = file.read(size)
    if len(content) < size:
        raise Unfit("decode", "damaged", f"the tar is cut: it holds {len(content)} of its {size} bytes")
    return content


def _what_is_wrong(file: io.BufferedReader, offset: int) -> str:
    head = file.read(6)
    file.seek(offset)
    if not head:
        return "the tar is empty"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        return "the tar is compressed: unpack it to an uncompressed one"
    if not file.read(1):
        return f"the tar is cut at byte {offset}: what followed is not here"
    return f"what lies at byte {offset} of the tar is no member: it is damaged, and what follows is lost"

"""Pictures that lie in uncompressed tars, as WebDataset groups them: the members of one sample share their name up to
the first dot, or, where names have dots of their own (`22.05.jpg`, `22.05.txt`), up to the last. They are read where
they lie; nothing is unpacked."""

from __future__ import annotations

import io
import os
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import reduce
from pathlib import Path

from facefact.data.description import (
    DESCRIBING,
    MAX_TEXT,
    NOTHING,
    Description,
    description_in,
    printable,
)
from facefact.data.records import Entry, Place, Unfit
from facefact.faces.files import is_nothing, is_picture, suffix_of

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
    """The members that share their name up to the first dot. parts: (what follows it, member). descriptions: what is
    between the first dot and the last ("" of `22.json`, "05" of `22.05.json`) -> what the files so named say."""

    parts: list[tuple[str, tarfile.TarInfo]] = field(default_factory=list)
    descriptions: dict[str, dict[str, Description]] = field(default_factory=dict)

    def inputs(self) -> list[tuple[tarfile.TarInfo, Description]]:
        """Its pictures: `jpg` rather than `face.jpg` (a mask or a crop of it), which counts where it is alone, or where
        its name is its own: it begins with a digit (`22.05.jpg`), or a description is named so too. Of a sample without
        any, what it has instead, so that somebody hears of it."""
        pictures = [(part.rpartition(".")[0], member) for part, member in self.parts if is_picture(f".{part}")]
        plain = any(not own for own, _ in pictures)
        found = [
            (member, self._description(own, *[] if plain else [""]))
            for own, member in pictures
            if not plain or not own or own[0].isdigit() or own in self.descriptions
        ]
        others = [member for part, member in self.parts if suffix_of(f".{part}") not in DESCRIBING]
        return found or [(member, self._description("")) for member in others or [self.parts[0][1]]]

    def _description(self, *names: str) -> Description:
        """What is said of the first name, then of the next; each in the order of DESCRIBING."""
        said = [self.descriptions.get(name, {}) for name in names]
        ordered = [of_name[suffix] for of_name in said for suffix in DESCRIBING if suffix in of_name]
        return reduce(Description.over, ordered, NOTHING)


def list_tar(path: Path, file_name: str) -> list[Entry]:
    """The pictures of a tar, in its order, and one entry more where it is damaged. file_name: the tar's name.

    Captions come from `.txt`, `.caption` and `.tags`, and captions, people, sources and licences from `.json`."""
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
    own = [one for sample in samples.values() for one in sample.inputs()]
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
    if member.isdir() or any(map(is_nothing, name.split("/"))):
        return
    folder, base = posixpath.split(name)
    key, _, part = base.partition(".")
    part = part.lower()
    sample = samples.setdefault(posixpath.join(folder, key), Sample())
    sample.parts.append((part, member))
    own, suffix = part.rpartition(".")[0], suffix_of(f".{part}")
    if suffix in DESCRIBING and member.size <= MAX_TEXT:
        file.seek(member.offset_data)
        sample.descriptions.setdefault(own, {})[suffix] = description_in(suffix, file.read(member.size))


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

"""Files of the service, inputs and results, by keys such as `<job id>/input/0.png`: a folder, or any URL of fsspec."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from facefact.checkpoint import replacing
from facefact.types import UserError

# One part of a key. No part begins with a dot: neither "..", nor the names of files that are being written.
PART = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]{0,99}")
DEEPEST = 5
URL = re.compile(r"[a-z][a-z0-9+.-]+://")


class StoreGone(Exception):
    """What holds the files does not work; one line. The same call may be made again."""


class Store(Protocol):
    """Every method raises ValueError for what is no key, and StoreGone where the disk or the network fails (a full disk
    among it). Whoever reads a key sees all of what was put, or nothing."""

    def put(self, key: str, data: bytes) -> None:
        """Replaces what was there."""

    def get(self, key: str) -> bytes:
        """KeyError: there is nothing."""

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Nothing happens where there is nothing."""

    def delete_all(self, prefix: str) -> None:
        """All below `<prefix>/`. prefix: one or more whole parts of a key."""

    def size(self) -> int:
        """Bytes of all files."""

    def ids(self) -> dict[str, float]:
        """The first parts of all keys, and how many seconds ago the latest file of each was written."""


def open_store(place: str | Path) -> Store:
    """A folder, which is made, or a URL that fsspec knows (s3://bucket/folder, memory://...). UserError: it cannot be
    used."""
    return FsspecStore(str(place)) if URL.match(str(place)) else FolderStore(place)


def checked(key: str) -> str:
    """The key. ValueError: it is none: a path that leads elsewhere, perhaps."""
    parts = key.split("/")
    if len(parts) > DEEPEST or not all(PART.fullmatch(part) for part in parts):
        raise ValueError(f"{key!r} is no key of the store")
    return key


class FolderStore:
    """A folder of this machine, or one that machines share. UserError: it cannot be made or written to."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error
        if not os.access(self.folder, os.W_OK):
            raise UserError(f"cannot write to the folder {folder}: choose another")

    def _path(self, key: str) -> Path:
        return self.folder / checked(key)

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with _told(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(data)

    def get(self, key: str) -> bytes:
        path = self._path(key)
        with _told(key):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise KeyError(key) from None

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _told(key):
            path.unlink(missing_ok=True)

    def delete_all(self, prefix: str) -> None:
        path = self._path(prefix)
        with _told(prefix):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=False, onerror=_unless_gone)

    def size(self) -> int:
        return sum(size for _, size, _ in self._files())

    def ids(self) -> dict[str, float]:
        newest: dict[str, float] = {}
        for path, _, written in self._files():
            id = path.relative_to(self.folder).parts[0]
            newest[id] = max(written, newest.get(id, 0.0))
        now = time.time()
        return {id: now - written for id, written in newest.items()}

    def _files(self) -> Iterator[tuple[Path, int, float]]:
        """Path, bytes and time of each, half-written ones too: they take room. What is deleted meanwhile, a file or a
        whole folder (which `Path.glob` would stumble over), is passed by."""
        for folder, _, names in os.walk(self.folder):
            if Path(folder) == self.folder:
                continue
            for path in (Path(folder) / name for name in names):
                try:
                    known = path.stat(follow_symlinks=False)
                except OSError:
                    continue
                if path.is_file():
                    yield path, known.st_size, known.st_mtime


class FsspecStore:
    """A folder of anything that fsspec knows. UserError: no fsspec, or none of its protocols.

    Where a local disk is meant a file is written beside and renamed; object stores put whole objects anyway.
    """

    def __init__(self, url: str) -> None:
        try:
            import fsspec
            from fsspec.implementations.local import LocalFileSystem
        except ImportError as error:
            raise UserError(f"{url} needs fsspec: pip install 'facefact[s3]'") from error
        try:
            self.files, self.root = fsspec.core.url_to_fs(url, use_listings_cache=False)  # others write too
        except (ImportError, ValueError) as error:
            raise UserError(f"{url} cannot be opened: {_line(error)}") from error
        self.root = self.root.rstrip("/")
        self._renames = isinstance(self.files, LocalFileSystem)
        if self._renames:
            self.files.makedirs(self.root, exist_ok=True)

    def _path(self, key: str) -> str:
        return f"{self.root}/{checked(key)}"

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        folder, _, name = path.rpartition("/")
        with _told(key):
            if not self._renames:
                self.files.pipe_file(path, data)
                return
            self.files.makedirs(folder, exist_ok=True)
            with replacing(Path(folder) / name) as temporary:
                temporary.write_bytes(data)

    def get(self, key: str) -> bytes:
        path = self._path(key)
        with _told(key):
            try:
                return bytes(self.files.cat_file(path))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise KeyError(key) from None

    def exists(self, key: str) -> bool:
        path = self._path(key)
        with _told(key), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return bool(self.files.info(path)["type"] == "file")  # (its `isfile` says no, too, where it cannot know)
        return False

    def delete(self, key: str) -> None:
        if self.exists(key):
            path = self._path(key)
            with _told(key), contextlib.suppress(FileNotFoundError):
                self.files.rm_file(path)

    def delete_all(self, prefix: str) -> None:
        path = self._path(prefix)
        with _told(prefix), contextlib.suppress(FileNotFoundError):
            self.files.rm(path, recursive=True)

    def size(self) -> int:
        return sum(int(known["size"] or 0) for known in self._files().values())

    def ids(self) -> dict[str, float]:
        ages: dict[str, float] = {}
        for path, known in self._files().items():
            parts = PurePosixPath(path).relative_to(self.root).parts
            if len(parts) > 1:
                ages[parts[0]] = min(_age(known), ages.get(parts[0], float("inf")))
        return ages

    def _files(self) -> dict[str, Any]:
        with _told(self.root):
            found = self.files.find(self.root, detail=True)
        return {path if path.startswith(self.root) else f"/{path}": known for path, known in found.items()}


def _age(known: dict[str, Any]) -> float:
    """Seconds since a file was written, from whatever its file system calls that; 0 where it does not say."""
    for name in ("mtime", "LastModified", "last_modified", "created"):
        when = known.get(name)
        if when is not None:
            return time.time() - float(when.timestamp() if hasattr(when, "timestamp") else when)
    return 0.0


class _told:
    """What fails inside becomes a StoreGone that names the key, and no path of this machine. (Clients of object stores
    have errors of their own kinds; a KeyError is an answer.)"""

    def __init__(self, key: str) -> None:
        self.key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, KeyError):
            raise StoreGone(f"the store cannot be used for {self.key}: {_line(error)}") from error


def _unless_gone(remove: Any, path: str, info: Any) -> None:
    """Two may delete the same folder."""
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]


def _line(error: BaseException) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(said).splitlines()[0]

"""Files that are written whole or not at all; and small safetensors files for their owner alone, which may come from
anybody: sizes are checked before anything is read, and whatever is wrong with one is one line (ValueError), which
whoever asked completes with the file's name."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 16 << 20  # SDXL's tokens of 64 photos are half of it
MAX_HEADER = 64 << 10  # names, shapes and what is said about them
LENGTH = 8  # bytes that say how long the header is


@contextlib.contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same directory; on success it takes the place of `path`, on failure it is
    removed. private: for its owner alone (mode 0600) from the first byte on; else as any new file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # makes it private
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if not private:
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


# Small files of tensors


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Mode 0600, under a temporary name first. The same content gives the same bytes, if there is one entry of metadata
    (safetensors writes several in any order). ValueError: too large to be read again. OSError: the disk."""
    from safetensors.torch import save

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(whole, metadata=dict(metadata))
    if len(data) > MAX_BYTES or _header_length(data[:LENGTH]) > MAX_HEADER:
        raise ValueError(f"that is too much for one file: {len(data) / 1e6:.1f} MB, {MAX_BYTES >> 20} MiB are allowed")
    with replacing(Path(path), private=True) as temporary:
        temporary.write_bytes(data)


def read_tensors(source: str | os.PathLike[str] | bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A file, or its bytes -> its tensors, on the CPU, and its metadata. ValueError: what is wrong with it."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = source if isinstance(source, bytes) else _bytes(Path(source))
    metadata = _metadata(data)
    try:
        return load(data), metadata
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError, OverflowError) as error:
        raise ValueError(f"not a whole safetensors file ({_first_line(error)})") from error


def begins_as_tensors(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one by its first bytes: the length of a header that fits into it, and a brace. No picture
    begins so."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for, and be empty afterwards
            return False
        with open(path, "rb") as file:
            start = file.read(LENGTH + 1)
    except OSError:
        return False
    size = found.st_size
    return len(start) > LENGTH and start[LENGTH:] == b"{" and LENGTH + _header_length(start) <= size


def _header_length(start: bytes) -> int:
    return int.from_bytes(start[:LENGTH], "little")


def _bytes(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("not a file")
        if found.st_size > MAX_BYTES:
            raise ValueError(f"{found.st_size / 1e6:.0f} MB are too much, {MAX_BYTES >> 20} MiB are allowed")
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error


def _metadata(data: bytes) -> dict[str, str]:
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data) / 1e6:.0f} MB are too much, {MAX_BYTES >> 20} MiB are allowed")
    length = _header_length(data)
    if len(data) <= LENGTH or LENGTH + length > len(data):
        raise ValueError("not a whole safetensors file")
    if length > MAX_HEADER:
        raise ValueError(f"its header has {length} bytes, {MAX_HEADER} are allowed")
    try:
        header = json.loads(data[LENGTH : LENGTH + length])
    except (ValueError, RecursionError):
        raise ValueError("not a safetensors file") from None
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("not a safetensors file")
    return metadata


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

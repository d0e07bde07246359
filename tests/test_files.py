"""Small files of tensors: whole, private, and harmless wherever they come from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from facefact import files

TENSORS = {"face": torch.arange(6.0).reshape(1, 2, 3), "bytes": torch.tensor([1, 2], dtype=torch.uint8)}


def as_file(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return len(text).to_bytes(8, "little") + text + data


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    files.write_tensors(path, TENSORS, {"about": "x"})
    for source in (path, path.read_bytes()):
        tensors, metadata = files.read_tensors(source)
        assert metadata == {"about": "x"}
        assert tensors.keys() == TENSORS.keys()
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_it_is_its_owners_alone_and_the_same_every_time(tmp_path: Path) -> None:
    one, other = tmp_path / "a", tmp_path / "b"
    before = os.umask(0)
    try:
        for path in (one, other):
            files.write_tensors(path, TENSORS, {"about": "x"})
    finally:
        os.umask(before)
    assert one.stat().st_mode & 0o777 == 0o600
    assert one.read_bytes() == other.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"], "no temporary file is left"


def test_what_would_not_be_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too much"):
        files.write_tensors(tmp_path / "a", {"a": torch.zeros(files.MAX_BYTES // 4)}, {})
    with pytest.raises(ValueError, match="too much"):
        files.write_tensors(tmp_path / "a", TENSORS, {"about": "x" * files.MAX_HEADER})
    assert not list(tmp_path.iterdir())


HUGE = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
NOTHING = {"dtype": "F32", "shape": [0, 1 << 60], "data_offsets": [0, 0]}
HOSTILE = {
    "empty": b"",
    "short": b"\x08\0\0",
    "no header": (0).to_bytes(8, "little"),
    "longer than itself": (1 << 62).to_bytes(8, "little") + b"{}",
    "large header": as_file(b"{" + b" " * files.MAX_HEADER + b"}"),
    "no JSON": as_file(b"{nothing"),
    "deep": as_file(b"[" * 60_000),
    "no object": as_file([1, 2]),
    "metadata of numbers": as_file({"__metadata__": {"a": 1}}),
    "metadata is a list": as_file({"__metadata__": [1]}),
    "says to be huge": as_file({"a": HUGE}),
    "beyond its end": as_file({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, b"\0" * 8),
    "negative": as_file({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"\0" * 4),
    "unknown type": as_file({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
    "surplus": as_file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 40),
    "a picture": b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(HOSTILE[name])
    for source in (path, HOSTILE[name]):
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            files.read_tensors(source)


def test_a_tensor_of_nothing_takes_no_room() -> None:
    try:
        tensors, _ = files.read_tensors(as_file({"a": NOTHING}))
    except ValueError:
        return
    assert tensors["a"].numel() == 0


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 40)  # takes no room on the disk
    for name, said in (("pipe", "not a file"), (".", "not a file"), ("none", "no such file"), ("large", "too much")):
        with pytest.raises(ValueError, match=said):
            files.read_tensors(tmp_path / name)


def test_pictures_do_not_begin_as_tensors(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 30), "red")
    for suffix in ("jpg", "png", "webp", "gif", "bmp", "tiff", "ppm"):
        picture.save(tmp_path / f"a.{suffix}")
        assert not files.begins_as_tensors(tmp_path / f"a.{suffix}")
    files.write_tensors(tmp_path / "a.jpeg", TENSORS, {})
    assert files.begins_as_tensors(tmp_path / "a.jpeg")
    os.mkfifo(tmp_path / "pipe")
    for name in ("none", "pipe", "."):
        assert not files.begins_as_tensors(tmp_path / name)

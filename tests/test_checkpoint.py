"""Weights on disk: round trip, atomicity, strictness, hostile files."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from facefact import checkpoint
from facefact.types import UserError


def test_round_trip(tmp_path: Path) -> None:
    tensors = {"a.b": torch.randn(3, 4).T, "c": torch.tensor(2.0), "half": torch.ones(2).half()}
    checkpoint.save(tmp_path / "new" / "dir", tensors, {"x": [1, None]})
    loaded, config = checkpoint.load(tmp_path / "new" / "dir")
    assert config == {"x": [1, None]}
    assert all(torch.equal(loaded[k], v) and loaded[k].dtype == v.dtype for k, v in tensors.items())
    assert checkpoint.content_hash(loaded) == checkpoint.content_hash(dict(reversed(tensors.items())))
    assert sorted(p.name for p in (tmp_path / "new" / "dir").iterdir()) == ["config.json", "model.safetensors"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write() -> None:
        with checkpoint.replacing(path) as temporary:
            temporary.write_text("half of the ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_can_be_read_by_those_whom_the_umask_allows(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {"a": torch.zeros(1)}, {})
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / checkpoint.WEIGHTS).stat().st_mode & 0o777 == 0o666 & ~umask


def test_content_hash_sees_names_types_shapes_and_values() -> None:
    tensors = [
        {"a": torch.zeros(4)},
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": torch.tensor([0.0, 0, 0, 1])},
        {"a": torch.zeros(4).bfloat16()},
    ]
    assert len({checkpoint.content_hash(t) for t in tensors}) == len(tensors)


def test_missing_and_broken_files_are_the_users_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no config\.json"):
        checkpoint.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match="not a JSON object"):
        checkpoint.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"has no model\.safetensors"):
        checkpoint.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x01" * 50)
    with pytest.raises(UserError, match="not a whole safetensors file"):
        checkpoint.load(tmp_path)


def test_strict_loading_names_the_keys() -> None:
    module = nn.Linear(2, 3)
    checkpoint.load_strictly(module, {"weight": torch.ones(3, 2).half(), "bias": torch.ones(3)}, source="x", dtype=None)
    assert module.weight.dtype == torch.float16
    for state, message in (
        ({"weight": torch.ones(3, 2)}, "f.pt does not fit: lacks bias"),
        ({"weight": torch.ones(3, 2), "bias": torch.ones(3), "z": torch.ones(1)}, "has unknown z"),
        ({"weight": torch.ones(3, 5), "bias": torch.ones(3)}, "weight is 3x5, expected 3x2"),
    ):
        with pytest.raises(UserError, match=message):
            checkpoint.load_strictly(module, state, source="f.pt")


class Trap:
    def __reduce__(self) -> tuple:
        return (os.system, ("touch trapped",))


def test_a_foreign_pickle_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Trap()}, "trap.pt")
    Path("plain.pkl").write_bytes(pickle.dumps(Trap(), protocol=2))
    Path("text.pt").write_text("hello")
    Path("empty.pt").write_bytes(b"")
    for name in ("trap.pt", "plain.pkl", "text.pt", "empty.pt"):
        with pytest.raises(UserError, match="not a torch file of plain tensors") as caught:
            checkpoint.load_torch(name)
        assert "\n" not in str(caught.value)
    assert not Path("trapped").exists()


def test_torch_files(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    assert torch.equal(checkpoint.load_torch(tmp_path / "a.pt")["a"], torch.ones(2))
    torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "b.pt")
    with pytest.raises(UserError, match="not a flat dictionary"):
        checkpoint.load_torch(tmp_path / "b.pt")
    with pytest.raises(UserError, match="does not exist"):
        checkpoint.load_torch(tmp_path / "c.pt")


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="cannot be written to .*: give another folder"),
        checkpoint.locked(tmp_path / "file" / "dataset"),
    ):
        pass


def test_a_zip_bomb_is_not_opened(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(100_000)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole:
        contents = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry, content in contents.items():
            bomb.writestr(entry, bytes(20_000_000) if entry.endswith("data/0") else content)
    with pytest.raises(UserError, match=r"bomb\.pt would inflate to 20 MB"):
        checkpoint.load_torch(tmp_path / "bomb.pt")
    assert checkpoint.load_torch(tmp_path / "whole.pt")["a"].shape == (100_000,)

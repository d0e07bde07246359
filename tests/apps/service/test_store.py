"""The store: a folder and fsspec's file systems keep what was put, and no key leads out of them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from facefact.apps.service.store import FolderStore, FsspecStore, Store, StoreGone, open_store
from facefact.types import UserError


@pytest.fixture(params=["folder", "file://", "memory://"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(tmp_path / "store")
    pytest.importorskip("fsspec")
    if request.param == "file://":
        return open_store(f"file://{tmp_path}/store")
    return open_store(f"memory://{tmp_path.name}")


def test_what_is_put_is_there_until_it_is_deleted(store: Store) -> None:
    for key, data in (("job1/input/0.png", b"photo"), ("job1/0.png", b"result"), ("job12/0.png", b"other")):
        assert not store.exists(key)
        store.put(key, data)
        assert store.exists(key)
        assert store.get(key) == data
    assert store.size() == len(b"photo" + b"result" + b"other")
    assert set(store.ids()) == {"job1", "job12"}
    assert all(0 <= age < 60 for age in store.ids().values())
    store.put("job1/0.png", b"another")
    assert store.get("job1/0.png") == b"another"
    store.delete_all("job1/input")
    assert not store.exists("job1/input/0.png")
    store.delete("job1/0.png")
    store.delete("job1/0.png")
    with pytest.raises(KeyError):
        store.get("job1/0.png")
    store.delete_all("job1")
    store.delete_all("job1")
    assert store.get("job12/0.png") == b"other"
    assert set(store.ids()) == {"job12"}


def test_kinds() -> None:
    assert isinstance(open_store("memory://x"), FsspecStore)
    with pytest.raises(UserError):
        open_store("nothing-of-the-kind://x")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a/..",
        "a//b",
        "a/.hidden",
        "a/b\\c",
        "a/\0",
        "a/b/c/d/e/f",
        "a/x y",
        "a/\n",
    ],
)
def test_no_key_leads_elsewhere(store: Store, key: str) -> None:
    for call in (store.get, store.exists, store.delete, store.delete_all, lambda key: store.put(key, b"x")):
        with pytest.raises(ValueError, match="no key"):
            call(key)
    assert store.size() == 0


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    wholes = [bytes([i]) * 2_000_000 for i in range(2)]
    store.put("a/0.png", wholes[0])
    done = threading.Event()

    def write() -> None:
        for i in range(40):
            store.put("a/0.png", wholes[i % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set() or reads == 0:
        assert store.get("a/0.png") in wholes
        reads += 1
    writer.join()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["0.png"]


def test_a_disk_that_fails_is_told_in_one_line_without_its_path(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    (tmp_path / "store" / "a").write_bytes(b"a file where a folder should be")
    with pytest.raises(StoreGone) as told:
        store.put("a/0.png", b"x")
    assert str(tmp_path) not in str(told.value)


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot make"):
        FolderStore(tmp_path / "file" / "store")

"""The store: a folder and fsspec's file systems keep what was put, and no key leads out of them."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from facefact.apps.service.store import FolderStore, FsspecStore, Store, StoreGone, open_store
from facefact.types import UserError


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a server that speaks S3, at a loopback port. (Two more packages, which nothing else here needs: a
    machine that has neither proves the same by memory://.)"""
    pytest.importorskip("s3fs", reason="needs s3fs (extra `s3`)")
    if (program := shutil.which("moto_server")) is None:
        pytest.skip("no moto_server is installed here (pip install 'moto[server]')")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    server = subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    try:
        until = time.monotonic() + 120
        while True:
            assert server.poll() is None, "moto_server ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert time.monotonic() < until
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def bucket(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty one; the environment says where, and who asks, as it does for any program of AWS."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    s3fs.S3FileSystem.clear_instance_cache()  # of another server, perhaps
    name = f"facefact-{secrets.token_hex(4)}"
    s3fs.S3FileSystem().mkdir(name)
    return f"s3://{name}/{tmp_path.name}"


@pytest.fixture(params=["folder", "file://", "memory://", "s3://"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(tmp_path / "store")
    pytest.importorskip("fsspec")
    if request.param == "s3://":
        return open_store(request.getfixturevalue("bucket"))
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


def test_what_another_machine_puts_is_seen_and_deleted(bucket: str) -> None:
    """Listings are not remembered: between two of them others write."""
    import s3fs

    store, another = open_store(bucket), s3fs.S3FileSystem(skip_instance_cache=True)
    store.put("job1/input/0.png", b"photo")
    assert store.size() == len(b"photo")
    assert not store.exists("job1/0.png")
    another.pipe_file(f"{bucket}/job1/0.png", b"result")
    another.pipe_file(f"{bucket}/job2/0.png", b"another")
    assert store.exists("job1/0.png")
    store.delete_all("job1")
    assert [path.split("/")[-2] for path in another.find(bucket)] == ["job2"]


def test_a_server_that_is_gone_is_told_and_takes_nothing_for_missing(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker gives back what it has then; it fails no job, and takes no result for lost."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    store = open_store(bucket)
    for call in (lambda: store.put("a/0.png", b"x"), lambda: store.get("a/0.png"), lambda: store.exists("a/0.png")):
        with pytest.raises(StoreGone, match=r"a/0\.png"):
            call()
    with pytest.raises(StoreGone):
        store.delete_all("a")


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


def test_what_is_deleted_while_one_counts_is_passed_by(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            store.put("job/a/b", b"1234")
            store.delete_all("job")

    with ThreadPoolExecutor(1) as threads:
        others = threads.submit(come_and_go)
        try:
            assert {store.size() for _ in range(300)} <= {0, 4}
            assert all(set(store.ids()) <= {"job"} for _ in range(300))
        finally:
            over.set()
        others.result()


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

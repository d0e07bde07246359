"""Whatever fails beside the service, its answer is clear and nothing is lost: a disk that is really full, a database
that is locked for longer than anybody waits or gone, a calendar that jumps while jobs are made."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs FastAPI (extra `serve`)")
pytest.importorskip("httpx", reason="needs httpx")

from fastapi.testclient import TestClient

from facefact.apps.service import table
from facefact.apps.service.api.app import make_app
from facefact.apps.service.api.aside import Aside
from facefact.apps.service.api.photos_tools import Opening
from facefact.apps.service.api.photos_work import open_photos
from facefact.apps.service.api.pictures import open_decoder
from facefact.apps.service.api.service import Limits, Model, Service
from facefact.apps.service.jobs import Job, Jobs
from facefact.apps.service.store import FolderStore, Store, StoreGone
from facefact.apps.service.worker import Worker
from facefact.apps.service.worker_options import WorkerOptions

Ask = Callable[..., Job]
LIMITS = Limits(picture_bytes=3_000_000, picture_pixels=4_000_000, body_bytes=8_000_000)
FORM = {"prompt": "smiling, at the beach", "steps": "1"}


@pytest.fixture(scope="module")
def decoders() -> Iterator[Aside]:
    bounds = {name: getattr(LIMITS, name) for name in ("picture_bytes", "picture_pixels", "picture_side")}
    made = Aside(open_decoder, bounds, count=1)
    yield made
    made.close()


@pytest.fixture
def client_of(decoders: Aside, tmp_path: Path) -> Iterator[Callable[[Jobs, Store], TestClient]]:
    """The API over a table and a store."""
    aside = Aside(open_photos, Opening("demo", None, None, True, str(tmp_path / "scratch")))  # starts when it is asked
    with contextlib.ExitStack() as opened:
        opened.callback(aside.close)

        def make(jobs: Jobs, store: Store) -> TestClient:
            known: Any = {"jobs": jobs, "store": store, "decoders": decoders, "photos": aside, "limits": LIMITS}
            app = make_app(Service(model=Model(name="demo"), **known))
            return opened.enter_context(TestClient(app, raise_server_exceptions=False))

        yield make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a small file system (root on Linux)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """All that is left of it, to the last byte."""
    ballast = place / "ballast"
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast


@contextlib.contextmanager
def working(worker: Worker) -> Iterator[None]:
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.beat.patience = 0.0
        worker.stop.set()
        thread.join(timeout=60)
        assert not thread.is_alive()


def worker_of(jobs: Jobs, store: Store, studio: Any) -> Worker:
    return Worker(WorkerOptions(database="", store="", lease=5.0), "w1", studio=studio, jobs=jobs, store=store)


def wait_for(truth: Callable[[], Any], seconds: float = 90.0) -> None:
    until = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < until, "it does not come to pass"
        time.sleep(0.02)


def is_(jobs: Jobs, id: str, state: str) -> Callable[[], bool]:
    return lambda: (job := jobs.get(id)) is not None and job.state == state


def readable(store: Store, key: str) -> bool:
    with Image.open(io.BytesIO(store.get(key))) as image:
        image.load()
        return image.size == (128, 128)


def post(client: TestClient, photo: bytes, **more: Any) -> Any:
    return client.post("/v1/portraits", data=FORM, files={"face": ("0", photo)}, **more)


# A disk that is full


def test_a_full_disk_refuses_what_comes_and_leaves_nothing_half(
    jobs: Jobs, small_disk: Path, client_of: Any, photos: list[bytes]
) -> None:
    store = FolderStore(small_disk / "store")
    client = client_of(jobs, store)
    first = post(client, photos[0])
    assert first.status_code == 202
    ballast = fill(small_disk)
    refused = post(client, photos[1], headers={"Idempotency-Key": "k"})
    assert refused.status_code == 503
    assert "try again" in refused.json()["error"]["message"]
    assert str(small_disk) not in refused.text
    assert jobs.counts()["queued"] == 1
    assert set(store.ids()) == {first.json()["id"]}, "no half of the refused one"
    assert client.get(f"/v1/portraits/{first.json()['id']}").json()["state"] == "queued"
    ballast.unlink()
    assert post(client, photos[1], headers={"Idempotency-Key": "k"}).status_code == 202


def test_a_disk_that_is_full_when_a_picture_is_done_delays_it(
    jobs: Jobs, small_disk: Path, studio: Any, ask: Ask, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facefact.apps.service.worker.PAUSE", 0.2)
    full = FolderStore(small_disk / "store")
    job = ask(settings={"steps": 1})
    for key in job.inputs["face"]:
        full.put(key, store.get(key))
    ballast = fill(small_disk)
    tried, put = threading.Event(), full.put

    def watched(key: str, data: bytes) -> None:
        try:
            put(key, data)
        except StoreGone:
            tried.set()
            raise

    monkeypatch.setattr(full, "put", watched)
    with working(worker_of(jobs, full, studio)):
        assert tried.wait(60), "the disk was never met full"
        wait_for(is_(jobs, job.id, "queued"))
        ballast.unlink()
        wait_for(is_(jobs, job.id, "done"))
    done = jobs.get(job.id)
    assert done is not None
    assert (done.attempts, done.crashes) == (1, 0)
    assert readable(full, f"{job.id}/0.png")
    assert sorted(path.name for path in (small_disk / "store" / job.id).iterdir()) == ["0.png", "input"]


def test_a_full_disk_under_the_database_is_said_and_passes(small_disk: Path) -> None:
    """SQLite itself has no room: the jobs that are written stay, and go on when there is room."""
    from facefact.apps.service.jobs import DatabaseGone, NewJob

    jobs = Jobs.open(f"sqlite:///{small_disk}/jobs.db", patience=0.5)
    wish = {"prompt": "x" * 3000}
    asked = [jobs.submit(NewJob(kind="portrait", settings=wish), limit=1000)[0].id for _ in range(3)]
    ballast = fill(small_disk)

    def until_it_is_full() -> None:
        for _ in range(2000):
            asked.append(jobs.submit(NewJob(kind="portrait", settings=wish), limit=10_000)[0].id)

    with pytest.raises(DatabaseGone, match="full|I/O"):
        until_it_is_full()
    assert jobs.counts()["queued"] == len(asked), "reading goes on"
    ballast.unlink()
    asked.append(jobs.submit(NewJob(kind="portrait", settings=wish), limit=10_000)[0].id)
    (claimed,) = jobs.claim("w1")
    assert jobs.finish(claimed.id, "w1", results=[])
    assert {job.id for job in jobs.list(limit=10_000)} == set(asked)
    jobs.close()
    with contextlib.closing(sqlite3.connect(small_disk / "jobs.db")) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# A database that is locked or gone


def test_a_database_that_is_locked_for_long_is_503_and_what_was_made_counts_afterwards(
    tmp_path: Path, client_of: Any, photos: list[bytes], studio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than SQLite, the API and the worker wait for it, while a portrait is made."""
    monkeypatch.setattr(table, "BUSY", 0.1)
    path, store = tmp_path / "jobs.db", FolderStore(tmp_path / "files")
    jobs = Jobs.open(f"sqlite:///{path}", patience=0.5)
    client = client_of(jobs, store)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        id = post(client, photos[0]).json()["id"]
        with working(worker_of(jobs, store, studio)):
            wait_for(is_(jobs, id, "running"))
            other.execute("BEGIN IMMEDIATE")
            wait_for(lambda: store.exists(f"{id}/0.png"))
            refused = post(client, photos[1])
            assert refused.status_code == 503
            assert "try again" in refused.json()["error"]["message"]
            assert client.get(f"/v1/portraits/{id}").status_code == 200, "reading goes on"
            assert set(store.ids()) == {id}
            time.sleep(1.0)  # the worker has run out of patience too, more than once
            other.execute("ROLLBACK")
            wait_for(is_(jobs, id, "done"))
    done = jobs.get(id)
    assert done is not None
    assert (done.attempts, done.results) == (1, [f"{id}/0.png"])
    jobs.close()


def test_a_database_that_is_gone_is_told_by_readiness_and_comes_back(
    tmp_path: Path, client_of: Any, photos: list[bytes]
) -> None:
    data, aside = tmp_path / "data", tmp_path / "aside"
    jobs = Jobs.open(f"sqlite:///{data}/jobs.db", patience=0.3)
    client = client_of(jobs, FolderStore(tmp_path / "files"))
    id = post(client, photos[0]).json()["id"]
    jobs.database.engine.dispose()
    shutil.move(data, aside)
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["database"]) == (503, False)
    assert client.get("/healthz").status_code == 200
    assert post(client, photos[1]).status_code == 503
    assert not data.exists(), "no empty one was made in its place"
    shutil.move(aside, data)
    assert client.get("/readyz").json()["database"] is True
    assert client.get(f"/v1/portraits/{id}").json()["state"] == "queued"
    jobs.close()


# A clock that jumps

JUMPING = """
import time
real = time.time
sign = lambda: 1 if int(time.monotonic()) % 2 else -1
time.time = lambda: real() + sign() * 400 * 86400.0
"""


@pytest.mark.long  # a process that loads a model; what it rests on is in test_jobs.py
def test_a_calendar_that_jumps_every_second_harms_no_job(
    jobs: Jobs, store: FolderStore, url: str, ask: Ask, tmp_path: Path
) -> None:
    """A worker process whose clock goes 800 days forth and back from its start on, with leases that would run out at
    each jump."""
    import json
    from dataclasses import asdict

    asked = [ask(face=[number % 3], settings={"steps": 4, "seed": number}) for number in range(4)]
    studio = {"device": "cpu", "exact_prompt": True}
    clock = jobs.database.clock  # as the pool gives it
    options = WorkerOptions(database=url, store=str(store.folder), studio=studio, batch=1, clock=clock)
    code = f"{JUMPING}\nimport sys\nfrom facefact.apps.service.worker import main\nsys.exit(main())"
    first = json.dumps({"options": asdict(options), "name": "jumping"}) + "\n"
    with open(tmp_path / "log", "w") as log:
        worker = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert worker.stdin is not None
        try:
            worker.stdin.write(first)
            worker.stdin.flush()
            until = time.monotonic() + 900
            while jobs.counts()["done"] < len(asked):
                assert jobs.expire(7 * 86400.0) == []
                assert time.monotonic() < until, (tmp_path / "log").read_text()
                time.sleep(0.1)
        finally:
            worker.kill()
            worker.wait()
    for one in asked:
        done = jobs.get(one.id)
        assert done is not None
        assert done.finished is not None
        assert abs(done.finished - time.time()) < 900
        assert (done.attempts, done.claimed_by) == (1, "jumping")
        assert readable(store, done.results[0])

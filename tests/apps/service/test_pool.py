"""Worker processes: killed at any moment, nothing is lost and nothing is done twice."""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from facefact.apps.service.jobs import Job, Jobs
from facefact.apps.service.pool import LocalPool
from facefact.apps.service.store import FolderStore
from facefact.apps.service.worker_options import WorkerOptions
from facefact.types import UserError

Ask = Callable[..., Job]
STUDIO = {"device": "cpu", "exact_prompt": True}


def options(url: str, store: FolderStore, **more: object) -> WorkerOptions:
    return WorkerOptions(database=url, store=str(store.folder), studio=STUDIO, **more)  # type: ignore[arg-type]


@contextlib.contextmanager
def pool_of(count: int, given: WorkerOptions) -> Iterator[LocalPool]:
    pool = LocalPool(given, workers=count)
    pool.start()
    try:
        yield pool
    finally:
        pool.stop(grace=20)


def unfinished(jobs: Jobs) -> int:
    counts = jobs.counts()
    return counts["queued"] + counts["running"]


def kill_and_see(
    jobs: Jobs, store: FolderStore, pools: list[LocalPool], asked: list[Job], *, kills: int, limit: float
) -> None:
    """Kills a worker at random moments while jobs are made; then everything is there, once."""
    chance, until, killed = random.Random(7), time.monotonic() + limit, 0
    done_at_kill = 0
    while unfinished(jobs):
        assert time.monotonic() < until, jobs.counts()
        counts = jobs.counts()
        ripe = counts["running"] > 0 and counts["done"] >= done_at_kill
        if killed < kills and ripe and (there := [pid for pool in pools for pid in pool.processes().values()]):
            time.sleep(chance.uniform(0.0, 0.4))
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(there), signal.SIGKILL)
            killed += 1
            done_at_kill = counts["done"] + max(1, len(asked) // (2 * kills))
        time.sleep(0.05)
    assert killed == kills
    counts = jobs.counts()
    assert counts["done"] == len(asked), [job.reason for job in jobs.list(state="failed")]
    for job in asked:
        done = jobs.get(job.id)
        assert done is not None
        assert done.results == [f"{job.id}/{k}.png" for k in range(job.count)]
        for key in done.results:
            with Image.open(io.BytesIO(store.get(key))) as image:
                image.load()
                assert image.size == (128, 128)
        ends = [event for event in jobs.events(job.id) if event.data.get("state") in ("done", "failed")]
        assert len(ends) == 1
        beside = {path.name for path in (store.folder / job.id).iterdir()} - {"input"}
        assert beside == {Path(key).name for key in done.results}


def test_workers_may_be_killed_at_any_moment(jobs: Jobs, store: FolderStore, url: str, ask: Ask) -> None:
    """(Each start of a process takes seconds: it loads PyTorch and the model.)"""
    asked = [ask(face=[number % 3], settings={"steps": 2, "seed": number}) for number in range(8)]
    with pool_of(2, options(url, store, batch=2)) as pool:
        kill_and_see(jobs, store, [pool], asked, kills=2, limit=900)
    assert pool.alive == 0


@pytest.mark.long
def test_ten_kills_among_a_hundred_jobs(jobs: Jobs, store: FolderStore, url: str, ask: Ask) -> None:
    asked = [ask(face=[number % 3], settings={"steps": 3, "seed": number}) for number in range(100)]
    with pool_of(2, options(url, store)) as pool:
        kill_and_see(jobs, store, [pool], asked, kills=10, limit=3000)


@pytest.mark.long
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_ten_kills_in_two_services_that_share_a_postgresql(jobs: Jobs, store: FolderStore, url: str, ask: Ask) -> None:
    asked = [ask(face=[number % 3], settings={"steps": 3, "seed": number}) for number in range(100)]
    with pool_of(1, options(url, store)) as pool, pool_of(1, options(url, store)) as other:
        kill_and_see(jobs, store, [pool, other], asked, kills=10, limit=3000)


def test_a_service_that_is_killed_leaves_no_worker_and_goes_on_at_once(
    jobs: Jobs, store: FolderStore, url: str, ask: Ask
) -> None:
    """And while it lives no second one works on its database."""
    given = options(url, store, lease=600.0)
    long = ask(settings={"steps": 900})
    code = (
        "import sys; from facefact.apps.service.pool import LocalPool; "
        "from facefact.apps.service.worker_options import WorkerOptions; "
        f"pool = LocalPool({given!r}); pool.start(); print(*pool.processes().values(), flush=True); sys.stdin.read()"
    )
    service = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert service.stdout is not None
        (worker,) = map(int, service.stdout.readline().split())
        until = time.monotonic() + 60
        while jobs.get(long.id).progress == 0:  # type: ignore[union-attr]
            assert time.monotonic() < until
            time.sleep(0.05)
        with pytest.raises(UserError, match="another service works on"):
            LocalPool(given).start()
    finally:
        service.kill()
        service.wait()
    until = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < until, "the worker outlives its service"
        time.sleep(0.05)
    assert jobs.claim("someone") == []  # its lease would run for ten minutes
    pool = LocalPool(given)
    pool.start(wait=False)
    waits = jobs.get(long.id)
    pool.stop(grace=0)
    assert waits is not None
    assert (waits.state, waits.crashes) == ("queued", 1)

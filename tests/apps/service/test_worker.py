"""A worker beside the table: it hears of cancellations, gives back what it must, and leaves nothing behind."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefact.apps.service.beat import Beat
from facefact.apps.service.jobs import Job, Jobs
from facefact.apps.service.store import FolderStore, StoreGone
from facefact.apps.service.worker import Worker
from facefact.apps.service.worker_options import WorkerOptions
from facefact.generate import Studio

Ask = Callable[..., Job]
LONG = {"steps": 900}  # more than a test waits for


@pytest.fixture
def working(jobs: Jobs, store: FolderStore, studio: Studio) -> Callable[..., Any]:
    """Inside `with working() as worker` one works in a thread."""

    @contextlib.contextmanager
    def work(**options: Any) -> Iterator[Worker]:
        chosen = WorkerOptions(database="", store="", lease=5.0, **options)
        worker = Worker(chosen, "w1", studio=studio, jobs=jobs, store=store)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            yield worker
        finally:
            worker.beat.patience = 0.0
            worker.stop.set()
            thread.join(timeout=60)
            assert not thread.is_alive()

    return work


def wait_for(truth: Callable[[], Any], seconds: float = 60.0) -> Any:
    until = time.monotonic() + seconds
    while not (found := truth()):
        assert time.monotonic() < until, "it does not come to pass"
        time.sleep(0.02)
    return found


def now(jobs: Jobs, job: Job) -> Job:
    found = jobs.get(job.id)
    assert found is not None
    return found


def is_(jobs: Jobs, job: Job, state: str) -> Callable[[], bool]:
    return lambda: now(jobs, job).state == state


def begun(jobs: Jobs, job: Job) -> Callable[[], bool]:
    return lambda: now(jobs, job).progress > 0


def test_jobs_are_made_and_everybody_hears_of_it(jobs: Jobs, store: FolderStore, ask: Ask, working: Any) -> None:
    good, bad = ask(settings={"steps": 4}, count=2), ask(settings={"steps": -1})
    with working():
        wait_for(is_(jobs, good, "done"))
        wait_for(is_(jobs, bad, "failed"))
    done = now(jobs, good)
    assert (done.progress, done.attempts, done.warnings) == (1.0, 1, [])
    assert [store.exists(key) for key in done.results] == [True, True]
    assert "-1 steps" in (now(jobs, bad).reason or "")
    previews = [event.data for event in jobs.events(good.id) if event.name == "preview"]
    assert {one["image"] for one in previews} == {0, 1}
    with Image.open(io.BytesIO(base64.b64decode(previews[0]["jpeg"]))) as image:
        assert (image.format, image.size) == ("JPEG", (128, 128))
    assert jobs.rate() > 0


def test_a_cancelled_job_stops_at_the_next_step_and_harms_no_other(
    jobs: Jobs, store: FolderStore, ask: Ask, working: Any
) -> None:
    before, after = ask(settings={"seed": 4}), ask(settings={"seed": 4})
    jobs.cancel(after.id)
    with working():
        wait_for(is_(jobs, before, "done"))
        long = ask(settings=LONG)
        wait_for(begun(jobs, long))
        jobs.cancel(long.id)
        same = ask(settings={"seed": 4})
        wait_for(is_(jobs, same, "done"))
    assert now(jobs, long).state == "cancelled"
    assert not store.exists(f"{long.id}/0.png")
    first, second = (np.asarray(Image.open(io.BytesIO(store.get(f"{one.id}/0.png")))) for one in (before, same))
    np.testing.assert_allclose(first.astype(int), second, atol=1)  # the adapter has nothing of the interrupted call


def test_of_a_batch_one_may_be_cancelled(jobs: Jobs, store: FolderStore, ask: Ask, working: Any) -> None:
    kept, dropped = (ask(settings={"steps": 12, "seed": seed}) for seed in (1, 2))
    with working():
        wait_for(begun(jobs, dropped))
        jobs.cancel(dropped.id)
        wait_for(is_(jobs, kept, "done"))
    assert now(jobs, dropped).state == "cancelled"
    assert not store.exists(f"{dropped.id}/0.png")


def test_of_a_forgotten_job_nothing_is_left(jobs: Jobs, store: FolderStore, ask: Ask, working: Any) -> None:
    with working():
        long = ask(settings=LONG)
        wait_for(begun(jobs, long))
        jobs.cancel(long.id)
        assert jobs.forget(long.id) is not None
        wait_for(lambda: store.size() == 0)


def test_a_worker_that_is_stopped_gives_back_what_is_far_from_done(jobs: Jobs, ask: Ask, working: Any) -> None:
    long = ask(settings=LONG)
    with working() as worker:
        wait_for(begun(jobs, long))
        worker.stop.set()  # with patience: but not for 900 steps
        wait_for(is_(jobs, long, "queued"))
    assert now(jobs, long).attempts == 0


def test_a_worker_that_is_stopped_finishes_what_is_nearly_done(jobs: Jobs, ask: Ask, working: Any) -> None:
    short = ask(settings={"steps": 15})
    with working() as worker:
        worker.beat.patience = 120.0
        wait_for(begun(jobs, short))
        worker.stop.set()
        wait_for(is_(jobs, short, "done"))


def test_photos_go_when_the_job_is_done(jobs: Jobs, store: FolderStore, ask: Ask, working: Any) -> None:
    job = ask(settings={"steps": 1})
    with working(keep_photos=False):
        wait_for(lambda: now(jobs, job).state == "done" and now(jobs, job).inputs == {})
    assert [path.name for path in (store.folder / job.id).iterdir()] == ["0.png"]


def test_a_store_that_is_full_for_a_while_loses_nothing(
    jobs: Jobs, store: FolderStore, ask: Ask, working: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facefact.apps.service.worker.PAUSE", 0.1)
    job, full, put, refused = ask(settings={"steps": 1}), threading.Event(), store.put, threading.Event()
    full.set()

    def maybe(key: str, data: bytes) -> None:
        if full.is_set():
            refused.set()
            raise StoreGone("No space left on device")
        put(key, data)

    monkeypatch.setattr(store, "put", maybe)
    with working():
        assert refused.wait(60)
        wait_for(is_(jobs, job, "queued"))
        full.clear()
        wait_for(is_(jobs, job, "done"))
    assert now(jobs, job).attempts == 1


def test_a_lease_is_renewed_while_nothing_else_moves_until_the_deadline(jobs: Jobs, ask: Ask) -> None:
    """A model that computes one long step, and one that hangs."""
    job = ask()
    jobs.claim("w1", lease=0.6)
    hangs = threading.Event()
    beat = Beat(jobs, "w1", lease=0.6, deadline=2.0, ending=lambda: False, die=hangs.set)
    beat.begin([job.id])
    began = time.monotonic()
    while not hangs.is_set():
        assert jobs.claim("w2") == []
        assert time.monotonic() < began + 10
        time.sleep(0.1)
    assert time.monotonic() - began >= 2.0
    beat.close()

"""What expires goes, with its files; what lives stays, however little room there is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from facefact.apps.service import keeper
from facefact.apps.service.jobs import Job, Jobs, NewJob, new_id
from facefact.apps.service.keeper import Keeper, StoreFull
from facefact.apps.service.store import FolderStore

Put = Callable[..., Job]


@pytest.fixture
def put(jobs: Jobs, store: FolderStore) -> Put:
    """A job with a photo of 1,000 bytes and, if it is done, a result of as many."""

    def submit(*, done: bool = False) -> Job:
        id = new_id()
        store.put(f"{id}/input/0.png", bytes(1000))
        inputs = {"face": [f"{id}/input/0.png"]}
        job, _ = jobs.submit(NewJob(id=id, kind="group", settings={"prompt": "x"}, inputs=inputs), limit=100)
        if done:
            assert [one.id for one in jobs.claim("w1")] == [id]
            store.put(f"{id}/0.png", bytes(1000))
            jobs.finish(id, "w1", results=[f"{id}/0.png"])
        return job

    return submit


def state(jobs: Jobs, job: Job) -> str:
    found = jobs.get(job.id)
    assert found is not None
    return found.state


def test_results_go_when_their_time_is_over(jobs: Jobs, store: FolderStore, put: Put) -> None:
    done, waiting = put(done=True), put()
    Keeper(jobs, store, keep=60.0).sweep()
    Keeper(jobs, store, keep=None).sweep()
    assert state(jobs, done) == "done"
    time.sleep(0.05)
    Keeper(jobs, store, keep=0.0).sweep()
    assert state(jobs, done) == "expired"
    assert state(jobs, waiting) == "queued"
    assert set(store.ids()) == {waiting.id}


def test_photos_may_go_before_the_results(jobs: Jobs, store: FolderStore, put: Put) -> None:
    done, waiting = put(done=True), put()
    Keeper(jobs, store, keep_photos=60.0).sweep()
    assert store.exists(f"{done.id}/input/0.png")
    Keeper(jobs, store, keep_photos=0.0).sweep()
    assert not store.exists(f"{done.id}/input/0.png")
    assert store.exists(f"{done.id}/0.png")
    assert store.exists(f"{waiting.id}/input/0.png")


def test_files_of_no_job_are_deleted_after_a_while_and_nobody_elses(jobs: Jobs, store: FolderStore, put: Put) -> None:
    waiting, left, late = put(), new_id(), new_id()
    for name in (left, late, "holiday"):
        store.put(f"{name}/input/0.png", b"x")
    long_ago = time.time() - 2 * keeper.ORPHANED
    for path in store.folder.glob("*/**/*"):
        if late not in str(path):
            os.utime(path, (long_ago, long_ago))
    Keeper(jobs, store).sweep()
    assert set(store.ids()) == {waiting.id, late, "holiday"}


def test_where_there_is_no_room_the_oldest_results_go(
    jobs: Jobs, store: FolderStore, put: Put, monkeypatch: Any
) -> None:
    monkeypatch.setattr(keeper, "SOME", 1)
    made = [put(done=True) for _ in range(4)]
    Keeper(jobs, store, store_limit=5000).sweep()
    assert [state(jobs, job) for job in made] == ["expired", "expired", "done", "done"]
    assert store.size() == 4000


def test_a_store_that_is_full_of_what_lives_takes_no_more(
    jobs: Jobs, store: FolderStore, put: Put, monkeypatch: Any
) -> None:
    monkeypatch.setattr(keeper, "AT_LEAST", 0.0)
    done, waiting = put(done=True), [put() for _ in range(3)]
    kept = Keeper(jobs, store, store_limit=5500)
    kept.check_room(500)  # beside the 5,000 that are there
    kept.check_room(1000)  # the result that is done goes for it
    assert state(jobs, done) == "expired"
    with pytest.raises(StoreFull):
        kept.check_room(3000)
    assert [state(jobs, job) for job in waiting] == ["queued"] * 3
    for job in waiting:
        jobs.cancel(job.id)
    kept.check_room(3000)
    assert store.size() == 0
    Keeper(jobs, store).check_room(10**15)  # without a limit

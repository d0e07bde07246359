"""The table of jobs, on SQLite and on PostgreSQL: what is asked for once is done once, and everybody has a turn."""

from __future__ import annotations

import math
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from facefact.apps.service import table
from facefact.apps.service.jobs import STATES, DatabaseGone, Job, Jobs, NewJob, QueueFull, new_id
from facefact.types import UserError

both = pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)


def wish(**given: Any) -> NewJob:
    settings = {"prompt": "a portrait", "seed": 0, "steps": 3} | given.pop("settings", {})
    return NewJob(**({"kind": "portrait", "settings": settings, "inputs": {"face": ["aaaaaaaa/input/0.png"]}} | given))


def submit(jobs: Jobs, times: int = 1, **given: Any) -> list[Job]:
    return [jobs.submit(wish(**given), limit=10_000)[0] for _ in range(times)]


def ids(found: Any) -> list[str]:
    return [one.id for one in found]


def state_of(jobs: Jobs, id: str) -> str | None:
    job = jobs.get(id)
    return job and job.state


@both
def test_a_job_goes_its_way(jobs: Jobs) -> None:
    new = wish(settings={"seed": 7}, count=2, owner="ada", priority=1)
    job, made = jobs.submit(new, limit=5)
    assert made
    assert (job.id, job.state, job.settings, job.inputs) == (new.id, "queued", new.settings, new.inputs)
    assert abs(job.created - time.time()) < 5
    assert jobs.position(job.id) == 0
    (claimed,) = jobs.claim("w1")
    assert (claimed.id, claimed.state, claimed.attempts, claimed.claimed_by) == (job.id, "running", 1, "w1")
    assert jobs.position(job.id) is None
    assert jobs.renew([job.id], "w1", progress={job.id: 0.5}) == set()
    assert jobs.get(job.id).progress == 0.5  # type: ignore[union-attr]
    assert jobs.finish(job.id, "w1", results=["a/0.png", "a/1.png"], warnings=["mind"])
    done = jobs.get(job.id)
    assert done is not None
    assert (done.state, done.results, done.warnings, done.progress) == ("done", ["a/0.png", "a/1.png"], ["mind"], 1.0)
    assert job.created <= done.started <= done.finished  # type: ignore[operator]
    told = [(event.name, event.data) for event in jobs.events(job.id)]
    assert told == [
        ("state", {"state": "queued"}),
        ("state", {"state": "running"}),
        ("progress", {"progress": 0.5}),
        ("state", {"state": "done"}),
    ]
    assert jobs.counts() == {state: int(state == "done") for state in STATES}


@both
def test_events_follow_each_other(jobs: Jobs) -> None:
    (job,) = submit(jobs)
    jobs.claim("w1")
    for share in (0.2, 0.4, 0.6):
        jobs.renew([job.id], "w1", progress={job.id: share})
    jobs.note(job.id, "preview", {"image": 0, "jpeg": "AAAA"})
    told = jobs.events(job.id)
    assert [event.data.get("progress") for event in told if event.name == "progress"] == [0.6]  # the latest
    numbers = [event.number for event in told]
    assert numbers == sorted(set(numbers))
    assert jobs.events(job.id, after=numbers[-2]) == told[-1:]
    assert jobs.events(job.id, after=numbers[-1]) == []
    jobs.note(new_id(), "preview", {})  # of a job that was forgotten meanwhile


@both
def test_the_same_key_is_the_same_job_however_full_the_queue(jobs: Jobs) -> None:
    first, _ = jobs.submit(wish(key="k", owner="ada"), limit=10)
    again, made = jobs.submit(wish(key="k", owner="ada"), limit=0)
    assert (again.id, made) == (first.id, False)
    with pytest.raises(UserError, match="another wish"):
        jobs.submit(wish(key="k", owner="ada", settings={"seed": 9}), limit=10)
    other, made = jobs.submit(wish(key="k", owner="bob"), limit=10)
    assert made
    assert other.id != first.id


@both
def test_the_same_photos_sent_twice_are_the_same_wish(jobs: Jobs) -> None:
    there, here = ({"face": [f"{id}/input/0.png"]} for id in (new_id(), new_id()))
    first, _ = jobs.submit(wish(key="k", inputs=there, digest="abc"), limit=10)
    assert jobs.submit(wish(key="k", inputs=here, digest="abc"), limit=10)[0].id == first.id
    with pytest.raises(UserError, match="another wish"):
        jobs.submit(wish(key="k", inputs=here, digest="abd"), limit=10)


@both
def test_fifty_who_ask_at_once_with_one_key_get_one_job(jobs: Jobs) -> None:
    with ThreadPoolExecutor(10) as many:
        asked = [many.submit(jobs.submit, wish(key="k"), limit=100) for _ in range(50)]
        answers = [one.result() for one in asked]
    assert len({job.id for job, _ in answers}) == 1
    assert sum(made for _, made in answers) == 1


@both
def test_a_full_queue_says_when_to_come_again(jobs: Jobs) -> None:
    with ThreadPoolExecutor(8) as many:

        def ask(_: int) -> bool:
            try:
                return jobs.submit(wish(), limit=10)[1]
            except QueueFull:
                return False

        assert sum(many.map(ask, range(40))) == 10
    assert jobs.counts()["queued"] == 10
    for job in jobs.claim("w1", batch=4):
        time.sleep(0.25)
        jobs.finish(job.id, "w1", results=[])
    time.sleep(0.3)  # nothing runs: does not count
    for job in jobs.claim("w1", batch=1):
        time.sleep(0.25)
        jobs.finish(job.id, "w1", results=[])
    done = jobs.list(state="done")
    last, *batch = sorted((one.started, one.finished) for one in done)[::-1]
    busy = last[1] - last[0] + max(end for _, end in batch) - min(begin for begin, _ in batch)
    assert jobs.rate() == pytest.approx(5 / busy)
    submit(jobs, 5)
    with pytest.raises(QueueFull) as full:
        jobs.submit(wish(), limit=10)
    assert full.value.retry_after == math.ceil(busy / 5)


@both
def test_one_owner_leaves_places_to_the_others(jobs: Jobs) -> None:
    for _ in range(9):
        jobs.submit(wish(owner="ada"), limit=12)
    with pytest.raises(QueueFull):
        jobs.submit(wish(owner="ada"), limit=12)
    assert jobs.submit(wish(owner="bob"), limit=12)[1]


def claimed_in_order(jobs: Jobs, count: int, **how: Any) -> list[Job]:
    found: list[Job] = []
    while len(found) < count:
        part = jobs.claim("w1", **how)
        assert part
        for job in part:
            jobs.finish(job.id, "w1", results=[])
        found += part
    return found


@both
def test_an_owner_with_many_jobs_does_not_starve_one_with_few(jobs: Jobs) -> None:
    submit(jobs, 60, owner="ada")
    claimed_in_order(jobs, 20)
    late = submit(jobs, 3, owner="bob")
    assert jobs.position(late[0].id) is not None
    assert jobs.position(late[0].id) <= 1  # type: ignore[operator]
    order = [job.owner for job in claimed_in_order(jobs, 8)]
    assert order.count("bob") == 3  # in turns, not one after the other
    assert "bob" in order[:2]
    assert order[:6] in (["ada", "bob"] * 3, ["bob", "ada"] * 3)
    submit(jobs, 2, owner="bob")  # who came before has no better turn for it
    assert [job.owner for job in claimed_in_order(jobs, 4)].count("bob") == 2


@both
def test_turns_are_counted_in_pictures(jobs: Jobs) -> None:
    submit(jobs, 4, owner="ada", count=4)
    submit(jobs, 8, owner="bob")
    order = [job.owner for job in claimed_in_order(jobs, 7)]
    assert order.count("ada") <= 2


@both
def test_a_higher_priority_goes_first_and_moves_no_turns(jobs: Jobs) -> None:
    submit(jobs, 5, owner="ada")
    urgent = submit(jobs, 2, owner="ada", priority=5)
    assert ids(claimed_in_order(jobs, 2)) == ids(urgent)
    (late,) = submit(jobs, owner="bob")
    assert late.id in ids(claimed_in_order(jobs, 2))


@both
def test_positions_are_the_order_of_claims(jobs: Jobs) -> None:
    made = submit(jobs, 3, owner="ada") + submit(jobs, 2, owner="bob", priority=1) + submit(jobs, 2, owner="cem")
    places = {job.id: jobs.position(job.id) for job in made}
    assert sorted(places.values()) == list(range(7))  # type: ignore[type-var]
    assert ids(claimed_in_order(jobs, 7)) == sorted(places, key=lambda id: places[id])  # type: ignore[arg-type, return-value]


@both
def test_a_batch_holds_what_can_be_made_together(jobs: Jobs) -> None:
    first = submit(jobs, settings={"seed": 1, "prompt": "a hat", "negative_prompt": "rain", "format": "jpeg"})
    submit(jobs, settings={"steps": 4})
    submit(jobs, inputs={"face": ["aaaaaaaa/input/0.png", "aaaaaaaa/input/1.png"]})
    submit(jobs, kind="template")
    alike = submit(jobs, 4, settings={"seed": 2})
    assert ids(jobs.claim("w1", batch=4)) == ids(first + alike[:3])
    rest = [jobs.claim("w1", batch=4) for _ in range(4)]
    assert [len(one) for one in rest] == [1, 1, 1, 1]


@both
def test_a_batch_is_counted_in_pictures(jobs: Jobs) -> None:
    made = submit(jobs, 1, count=2) + submit(jobs, 1, count=4) + submit(jobs, 3)
    assert ids(jobs.claim("w1", batch=4)) == [made[0].id, made[2].id, made[3].id]
    assert ids(jobs.claim("w1", batch=2)) == [made[1].id]  # larger than a batch, and made all the same


@both
def test_no_two_workers_have_the_same_job(open_jobs: Callable[[], Jobs]) -> None:
    jobs = open_jobs()
    made = submit(jobs, 60)

    def work(name: str) -> list[str]:
        own, mine = open_jobs(), []
        while claimed := own.claim(name, batch=3):
            for job in claimed:
                mine.append(job.id)
                assert own.finish(job.id, name, results=[name])
        return mine

    with ThreadPoolExecutor(6) as many:
        done = [id for part in many.map(work, [f"w{i}" for i in range(6)]) for id in part]
    assert Counter(done) == Counter(ids(made))


@both
def test_the_job_of_a_dead_worker_is_taken_over_after_its_lease(jobs: Jobs) -> None:
    (job,) = submit(jobs)
    jobs.claim("w1", lease=0.4)
    assert jobs.claim("w2", lease=10) == []
    time.sleep(0.5)
    (again,) = jobs.claim("w2", lease=10)
    assert (again.id, again.attempts, again.crashes) == (job.id, 2, 1)
    assert jobs.renew([job.id], "w1") == {job.id}
    assert not jobs.finish(job.id, "w1", results=["late"])
    assert not jobs.fail(job.id, "w1", "late")
    jobs.give_back([job.id], "w1")
    assert jobs.finish(job.id, "w2", results=["good"])
    assert jobs.finish(job.id, "w2", results=["good"])  # asked again: the connection might have broken
    assert jobs.get(job.id).results == ["good"]  # type: ignore[union-attr]


@both
def test_who_renews_keeps_the_job(jobs: Jobs) -> None:
    (job,) = submit(jobs)
    jobs.claim("w1", lease=0.4)
    for _ in range(4):
        time.sleep(0.2)
        assert jobs.renew([job.id], "w1", lease=0.4) == set()
        assert jobs.claim("w2") == []


@both
def test_a_crash_is_charged_to_a_suspect_that_ran_alone(jobs: Jobs) -> None:
    made = submit(jobs, 3)
    assert len(jobs.claim("w1", batch=3)) == 3
    assert sorted(jobs.take_back("w1")) == sorted(ids(made))
    assert [job.crashes for job in jobs.list()] == [0, 0, 0]
    submit(jobs, 2)
    bad = made[0].id
    for crashes in (1, 2, 3):
        (job,) = jobs.claim("w1", batch=4)  # one by one
        assert job.id == bad
        jobs.take_back("w1")
        found = jobs.get(bad)
        assert found is not None
        assert found.crashes == crashes
    assert found.state == "failed"
    assert found.reason == "its worker died 3 times while it made this alone"
    assert jobs.events(bad)[-1].data == {"state": "failed", "reason": found.reason}
    assert [len(jobs.claim("w1", batch=4)) for _ in range(3)] == [1, 1, 2]  # its neighbours, then who came later


@both
def test_only_the_dead_workers_jobs_are_taken_back(jobs: Jobs) -> None:
    submit(jobs, 3, kind="group")
    held = {name: ids(jobs.claim(name)) for name in ("w1", "w2", "w3")}
    assert list(jobs.take_back("w2")) == held["w2"]
    assert sorted(jobs.take_back()) == sorted(held["w1"] + held["w3"])


@both
def test_what_is_given_back_is_as_if_nobody_had_claimed_it(jobs: Jobs) -> None:
    made = submit(jobs, 2)
    jobs.claim("w1", batch=2)
    jobs.give_back(ids(made), "w1")
    again = jobs.claim("w2", batch=2)
    assert ids(again) == ids(made)
    assert {job.attempts for job in again} == {1}


@both
def test_cancelling(jobs: Jobs) -> None:
    running, queued = submit(jobs, 2, kind="group", owner="ada")
    jobs.claim("w1")
    assert jobs.cancel(running.id, owner="bob") is None
    assert jobs.cancel(new_id()) is None
    for job in (running, queued):
        cancelled = jobs.cancel(job.id, owner="ada")
        assert cancelled is not None
        assert (cancelled.state, cancelled.finished is not None) == ("cancelled", True)
    assert jobs.renew([running.id], "w1") == {running.id}
    assert not jobs.finish(running.id, "w1", results=["x"])
    assert state_of(jobs, running.id) == "cancelled"
    assert jobs.claim("w2") == []
    assert jobs.cancel(running.id).state == "cancelled"  # type: ignore[union-attr]
    assert len([event for event in jobs.events(running.id) if event.data == {"state": "cancelled"}]) == 1


@both
def test_forgetting(jobs: Jobs) -> None:
    (job,) = submit(jobs, owner="ada")
    assert jobs.forget(job.id) is None  # it still waits
    jobs.cancel(job.id)
    assert jobs.forget(job.id, owner="bob") is None
    assert jobs.forget(job.id, owner="ada").id == job.id  # type: ignore[union-attr]
    assert jobs.get(job.id) is None
    assert jobs.events(job.id) == []


@both
def test_an_owner_sees_their_own_page_by_page(jobs: Jobs) -> None:
    made = submit(jobs, 5, owner="ada")
    submit(jobs, 2, owner="bob")
    jobs.claim("w1")
    newest = ids(reversed(made))
    assert ids(jobs.list(owner="ada", limit=3)) == newest[:3]
    assert ids(jobs.list(owner="ada", before=newest[2], limit=3)) == newest[3:]
    assert ids(jobs.list(owner="ada", state="running")) == ids(made[:1])
    assert jobs.get(made[0].id, owner="bob") is None


@both
def test_results_expire_and_are_reported_until_their_files_are_gone(jobs: Jobs) -> None:
    old, failed, waiting = submit(jobs, 3, kind="group", settings={"prompt": "a secret"})
    jobs.claim("w1")
    jobs.finish(old.id, "w1", results=["x/0.png"])
    jobs.claim("w1")
    jobs.fail(failed.id, "w1", "why")
    assert jobs.expire(60) == []
    time.sleep(0.05)
    assert sorted(ids(jobs.expire(0.0))) == sorted([old.id, failed.id])
    assert sorted(ids(jobs.expire(60))) == sorted([old.id, failed.id])  # nobody deleted anything yet
    assert jobs.get(old.id).results == ["x/0.png"]  # type: ignore[union-attr]
    jobs.emptied([old.id, failed.id, waiting.id])
    assert jobs.expire(60) == []
    gone, kept = jobs.get(old.id), jobs.get(waiting.id)
    assert gone is not None
    assert kept is not None
    assert (gone.state, gone.results, gone.inputs, gone.settings) == ("expired", [], {}, {})
    assert kept.settings["prompt"] == "a secret"
    jobs.expire(0.0)
    assert jobs.get(old.id) is None


@both
def test_the_oldest_results_go_first(jobs: Jobs) -> None:
    made = submit(jobs, 3)
    for job in claimed_in_order(jobs, 3):
        assert job.id in ids(made)
    assert ids(jobs.expire_oldest(1)) == [made[0].id]
    jobs.emptied([made[0].id])
    assert ids(jobs.expire_oldest(1)) == [made[1].id]


@both
def test_photos_are_asked_for_until_they_are_gone(jobs: Jobs) -> None:
    done, waiting = submit(jobs, 2, kind="group")
    jobs.claim("w1")
    jobs.finish(done.id, "w1", results=[])
    assert jobs.with_photos(60) == []
    assert ids(jobs.with_photos(0)) == [done.id]
    jobs.photos_gone([done.id])
    assert jobs.with_photos(0) == []
    assert jobs.get(done.id).inputs == {}  # type: ignore[union-attr]
    assert jobs.known([done.id, waiting.id, new_id()]) == {done.id, waiting.id}


@both
def test_a_calendar_that_is_set_expires_nothing(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither leases nor results go by it while the service runs."""
    done, running = submit(jobs, 2, kind="group")
    jobs.claim("w1")
    jobs.finish(done.id, "w1", results=[])
    jobs.claim("w2", lease=30)
    for moved in (+400 * 86400.0, -400 * 86400.0):
        calendar = time.time() + moved
        monkeypatch.setattr(time, "time", lambda calendar=calendar: calendar)
        assert jobs.expire(7 * 86400.0) == []
        assert jobs.claim("w3") == []
        assert jobs.renew([running.id], "w2") == set()
        monkeypatch.undo()


def test_who_starts_while_the_calendar_is_wrong_stamps_no_wrong_days(
    jobs: Jobs, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite. A worker has its service's clock; a service without a clock of its own goes on after what is written."""
    by_worker, by_service = submit(jobs, 2, kind="group")
    for job, moved, clock in ((by_worker, 400 * 86400.0, jobs.database.clock), (by_service, -400 * 86400.0, None)):
        calendar = time.time() + moved
        monkeypatch.setattr(time, "time", lambda calendar=calendar: calendar)
        other = Jobs.open(url, clock=clock)
        other.claim("w")
        other.finish(job.id, "w", results=[])
        monkeypatch.undo()
        found = other.get(job.id)
        other.close()
        assert found is not None
        assert found.finished is not None
        assert abs(found.finished - time.time()) < 5
    assert jobs.expire(7 * 86400.0) == []


@both
def test_a_lease_clock_that_is_set_back_delays_a_take_over_by_no_more_than_a_lease(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's clock, or after the machine began anew. Who lives keeps the job; who is dead is noticed."""
    submit(jobs, 2, kind="group")
    (dead,), (alive,) = jobs.claim("w1", lease=0.6), jobs.claim("w2", lease=0.6)
    monkeypatch.setattr(table.Database, "lease_now", earlier(table.Database.lease_now, 5000.0))
    assert jobs.claim("w3", lease=5) == []  # cuts both leases
    for _ in range(3):
        time.sleep(0.25)
        assert jobs.renew([alive.id], "w2", lease=0.6) == set()
    assert ids(jobs.claim("w3", lease=5)) == [dead.id]


@both
def test_a_lease_clock_that_is_set_forward_loses_nothing(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is begun once more, and whoever has the lease is the one who finishes it."""
    (job,) = submit(jobs)
    jobs.claim("w1", lease=30)
    monkeypatch.setattr(table.Database, "lease_now", earlier(table.Database.lease_now, -5000.0))
    (again,) = jobs.claim("w2", lease=30)
    assert again.id == job.id
    assert not jobs.finish(job.id, "w1", results=["first"])
    assert jobs.finish(job.id, "w2", results=["second"])


def earlier(clock: Callable[[Any], Any], seconds: float) -> Callable[[Any], Any]:
    return lambda database: clock(database) - sa.literal(seconds, sa.Double)


def test_bad_wishes_are_refused() -> None:
    with pytest.raises(UserError, match="no kind of job"):
        wish(kind="film")
    with pytest.raises(UserError, match="at least 1"):
        wish(count=0)
    with pytest.raises(UserError, match="no job's id"):
        wish(id="../../etc")


def test_bad_urls_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for url in ("mysql://x/y", "nothing", "sqlite://", f"sqlite:///{tmp_path}/file/jobs.db", f"sqlite:///{tmp_path}"):
        with pytest.raises(UserError) as refused:
            Jobs.open(url, patience=0.1)
        assert "\n" not in str(refused.value)
    with pytest.raises(UserError) as refused:
        Jobs.open("postgresql://me:secret@127.0.0.1:1/none", patience=0.1)
    assert "secret" not in str(refused.value)


def test_a_locked_database_is_waited_for_and_then_said_to_be_gone(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(table, "BUSY", 0.1)
    path = tmp_path / "jobs.db"
    jobs = Jobs.open(f"sqlite:///{path}", patience=0.6)
    (job,) = submit(jobs)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert jobs.get(job.id) is not None  # reading goes on
    with pytest.raises(DatabaseGone, match="locked"):
        jobs.claim("w1")
    free = threading.Timer(0.3, other.execute, ("ROLLBACK",))
    other.close()
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    free = threading.Timer(0.3, other.execute, ("ROLLBACK",))
    free.start()
    assert ids(jobs.claim("w1")) == [job.id]
    free.join()
    other.close()


def test_a_database_that_goes_away_and_comes_back_has_lost_nothing(tmp_path: Path) -> None:
    folder, aside = tmp_path / "data", tmp_path / "aside"
    jobs = Jobs.open(f"sqlite:///{folder}/jobs.db", patience=0.5)
    (job,) = submit(jobs)
    jobs.close()  # as a worker that has just begun: no connection yet
    shutil.move(folder, aside)
    with pytest.raises(DatabaseGone):
        submit(jobs)
    threading.Timer(0.2, shutil.move, (aside, folder)).start()
    assert ids(jobs.claim("w1")) == [job.id]
    assert ids(jobs.list()) == [job.id]


def test_a_server_that_restarts_is_waited_for(postgres: str) -> None:
    jobs = Jobs.open(postgres, patience=5.0)
    (job,) = submit(jobs)
    killer = sa.create_engine(postgres, isolation_level="AUTOCOMMIT")
    with killer.connect() as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        others += " AND usename = 'facefact'"
        connection.exec_driver_sql(others)
    assert jobs.get(job.id) is not None
    with killer.connect() as connection:
        connection.exec_driver_sql(others)
    assert jobs.cancel(job.id) is not None
    killer.dispose()
    jobs.close()

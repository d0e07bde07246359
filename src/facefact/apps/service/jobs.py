"""The jobs: one table with leases, in SQLite or PostgreSQL. Everything that the service knows survives in it.

A job is claimed for a while (its lease), which its worker renews as long as it lives. Whoever looks for work also looks
for leases that ran out. What a worker finishes counts only while the lease is its own.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from facefact.apps.service.claiming import add_event, ahead_of, anything_to_do, take, take_back, take_back_lapsed
from facefact.apps.service.records import (
    FINISHED,
    KINDS,
    STATES,
    DatabaseGone,
    Event,
    Job,
    NewJob,
    QueueFull,
    State,
    new_id,
)
from facefact.apps.service.table import Database, events, jobs
from facefact.types import UserError

__all__ = [
    "FINISHED",
    "KINDS",
    "STATES",
    "DatabaseGone",
    "Event",
    "Job",
    "Jobs",
    "NewJob",
    "QueueFull",
    "State",
    "new_id",
]

LIVE = ("queued", "running")
RESERVED = 4  # an owner who is named leaves this part of the queue's places to the others: one in four
LOOKED_BACK = 50  # finished jobs, by which the rate is measured
UNKNOWN_WAIT = 30  # seconds to wait for a place when no job was ever finished
LONGEST_WAIT = 3600
COLUMNS = [jobs.c[one.name] for one in fields(Job)]


class Jobs:
    """What a service and its workers do with the table. Any thread may call; after a fork, open another.

    Every method raises DatabaseGone when the database did not answer for as long as `Jobs.open` says.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    def open(cls, url: str, *, patience: float = 10.0, clock: float | None = None) -> Jobs:
        """url: sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME; tables are made where there are none. patience:
        seconds to wait for a database that is locked or gone. clock: as `Database` takes it. UserError: it cannot be
        opened."""
        return cls(Database(url, patience=patience, clock=clock))

    def close(self) -> None:
        self.database.close()

    def submit(self, new: NewJob, *, limit: int) -> tuple[Job, bool]:
        """The job, and whether it is new: with the key of an earlier one of the same owner it is that one, however full
        the queue is. limit: how many may wait; an owner who is named may have three quarters of them.

        QueueFull: no place. UserError: another wish has that key.
        """
        return self.database.write(lambda connection: self._submit(connection, new, limit))

    def _submit(self, connection: sa.Connection, new: NewJob, limit: int) -> tuple[Job, bool]:
        self.database.one_at_a_time(connection, "submit")
        same = jobs.c.id == new.id  # there: committed the last time, though the connection broke
        if new.key is not None:
            same = sa.or_(same, sa.and_(jobs.c.owner == new.owner, jobs.c.key == new.key))
        if (old := _job(connection, same)) is not None:
            if connection.scalar(sa.select(jobs.c.content).where(jobs.c.id == old.id)) != new.content:
                raise UserError(f"the idempotency key {new.key!r} belongs to another wish: take a new one")
            return old, old.id == new.id
        ahead = ahead_of(connection, new.owner, new.priority)
        if ahead.waiting >= limit or ahead.own >= (limit - limit // RESERVED if new.owner else limit):
            raise QueueFull(self._wait(connection))
        own = {name: getattr(new, name) for name in NEW}
        row = own | {"state": "queued", "created": self.database.steady_now(), "turn": ahead.turn, "events": 1}
        connection.execute(sa.insert(jobs), row)
        connection.execute(
            sa.insert(events), {"job": new.id, "number": 1, "name": "state", "data": {"state": "queued"}}
        )
        return Job(**{name: row[name] for name in row.keys() & JOB}), True

    def get(self, id: str, *, owner: str | None = None) -> Job | None:
        """owner: whose it has to be; None for anybody's."""
        return self.database.read(lambda connection: _job(connection, _is(id, owner)))

    def knows(self, key: str, *, owner: str) -> bool:
        """Whether an idempotency key is of an earlier job."""
        same = sa.and_(jobs.c.owner == owner, jobs.c.key == key)
        return self.database.read(lambda connection: _count(connection, same) > 0)

    def list(
        self,
        *,
        owner: str | None = None,
        kind: str | None = None,
        state: State | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> Sequence[Job]:
        """The newest first. before: the id of the last one of the page before this."""
        chosen = sa.select(*COLUMNS).order_by(jobs.c.number.desc()).limit(limit)
        if owner is not None:
            chosen = chosen.where(jobs.c.owner == owner)
        if kind is not None:
            chosen = chosen.where(jobs.c.kind == kind)
        if state is not None:
            chosen = chosen.where(jobs.c.state == state)
        if before is not None:
            chosen = chosen.where(jobs.c.number < sa.select(jobs.c.number).where(jobs.c.id == before).scalar_subquery())
        return self.database.read(lambda connection: [Job(**row) for row in connection.execute(chosen).mappings()])

    def position(self, id: str) -> int | None:
        """How many go before it; None if it does not wait."""
        return self.database.read(lambda connection: _position(connection, id))

    def cancel(self, id: str, *, owner: str | None = None) -> Job | None:
        """It is cancelled from now on, if it was not finished; its worker stops at the next step. None: no such job."""

        def work(connection: sa.Connection) -> Job | None:
            job = _job(connection, _is(id, owner), lock=True)
            if job is not None and job.state in LIVE:
                self._end(connection, id, "cancelled")
            return _job(connection, _is(id, owner))

        return self.database.write(work)

    def forget(self, id: str, *, owner: str | None = None) -> Job | None:
        """The row of a finished one is removed, with its events; the caller deletes what the store has under its id.
        None: no such job, or it is not finished."""

        def work(connection: sa.Connection) -> Job | None:
            job = _job(connection, sa.and_(_is(id, owner), jobs.c.state.in_(FINISHED)), lock=True)
            if job is not None:
                _delete(connection, [id])
            return job

        return self.database.write(work)

    def claim(self, worker: str, *, batch: int = 1, lease: float = 30.0) -> Sequence[Job]:
        """The next job and those that fit into one batch with it, running now and this worker's for `lease` seconds; []
        if there is nothing to do. batch: pictures. Jobs of workers whose lease ran out wait again first."""
        if not self.database.read(lambda connection: anything_to_do(self.database, connection)):
            return []

        def work(connection: sa.Connection) -> Sequence[Job]:
            take_back_lapsed(self.database, connection)
            taken = take(self.database, connection, worker, batch=batch, lease=lease)
            found = [_job(connection, jobs.c.id == row["id"]) for row in taken]
            return [job for job in found if job is not None]

        return self.database.write(work)

    def take_back(self, *names: str) -> Sequence[str]:
        """The jobs of workers that are known to be dead wait again, without their lease running out; their ids. names:
        of the workers, or what their names begin with; none: of all, for who is sure to be the only one."""
        whose = [jobs.c.claimed_by.startswith(name, autoescape=True) for name in names] or [sa.true()]
        return self.database.write(lambda connection: take_back(self.database, connection, sa.or_(*whose)))

    def renew(
        self, ids: Collection[str], worker: str, *, lease: float = 30.0, progress: Mapping[str, float] | None = None
    ) -> set[str]:
        """The leases run for `lease` seconds from now. Returns which must stop: cancelled, forgotten, or another's."""

        def work(connection: sa.Connection) -> set[str]:
            own = _own(connection, ids, worker)
            values = {"lease": lease, "lease_until": self.database.lease_now() + lease}
            connection.execute(sa.update(jobs).where(jobs.c.id.in_(own)).values(**values))
            for id, share in (progress or {}).items():
                if id in own:
                    connection.execute(sa.update(jobs).where(jobs.c.id == id).values(progress=share))
                    add_event(connection, id, "progress", {"progress": share})
            return set(ids) - own

        return self.database.write(work)

    def finish(self, id: str, worker: str, *, results: Sequence[str], warnings: Sequence[str] = ()) -> bool:
        """Done, if it is this worker's still. results: keys in the store."""
        values = {"results": list(results), "warnings": list(warnings), "progress": 1.0}
        return self._end_own(id, worker, "done", values)

    def fail(self, id: str, worker: str, reason: str, *, warnings: Sequence[str] = ()) -> bool:
        """Failed, if it is this worker's still. reason: one line."""
        return self._end_own(id, worker, "failed", {"reason": reason, "warnings": list(warnings)})

    def _end_own(self, id: str, worker: str, state: State, values: dict[str, Any]) -> bool:
        def work(connection: sa.Connection) -> bool:
            if not _own(connection, [id], worker):
                ended = sa.and_(jobs.c.id == id, jobs.c.claimed_by == worker, jobs.c.state == state)
                return _count(connection, ended) > 0  # committed the last time, though the connection broke
            self._end(connection, id, state, **values)
            return True

        return self.database.write(work)

    def _end(self, connection: sa.Connection, id: str, state: State, **values: Any) -> None:
        values |= {"state": state, "finished": self.database.now(), "lease_until": None}
        connection.execute(sa.update(jobs).where(jobs.c.id == id).values(**values))
        reason = {"reason": values["reason"]} if "reason" in values else {}
        add_event(connection, id, "state", {"state": state, **reason})

    def give_back(self, ids: Collection[str], worker: str) -> None:
        """Unfinished, as if they had not been claimed: of a worker that stops and means no harm."""

        def work(connection: sa.Connection) -> None:
            own = _own(connection, ids, worker)
            values = {"state": "queued", "claimed_by": None, "lease_until": None, "started": None, "progress": 0.0}
            back = sa.update(jobs).where(jobs.c.id.in_(own))
            connection.execute(back.values(attempts=jobs.c.attempts - 1, **values))
            for id in own:
                add_event(connection, id, "state", {"state": "queued"})

        self.database.write(work)

    def events(self, id: str, *, after: int = 0) -> Sequence[Event]:
        """What became of a job, in order. after: the number of the last one that is known."""
        chosen = sa.select(events.c.number, events.c.name, events.c.data).order_by(events.c.number)
        chosen = chosen.where(events.c.job == id, events.c.number > after)
        return self.database.read(lambda connection: [Event(*row) for row in connection.execute(chosen)])

    def note(self, id: str, name: str, data: dict[str, Any]) -> None:
        """One event more; nothing if the job is gone."""
        self.database.write(lambda connection: add_event(connection, id, name, data))

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        chosen = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
        found = self.database.read(lambda connection: {row[0]: row[1] for row in connection.execute(chosen)})
        return {state: found.get(state, 0) for state in STATES}

    def rate(self) -> float:
        """Pictures a second while any job runs, of the last finished ones; 0 when none is known."""
        return self.database.read(_rate)

    def _wait(self, connection: sa.Connection) -> int:
        """Seconds until one of the waiting jobs is likely to be taken."""
        rate = _rate(connection)
        if not rate:
            return UNKNOWN_WAIT
        pictures = connection.scalar(sa.select(sa.func.avg(jobs.c.count)).where(jobs.c.state == "queued")) or 1
        return min(LONGEST_WAIT, max(1, math.ceil(float(pictures) / rate)))

    def expire(self, keep_seconds: float) -> Sequence[Job]:
        """Finished longer ago than that: expired from now on. Returns all whose files are to be deleted, those too
        that an earlier call returned and nobody reported by `emptied`; rows go when they were expired as long again."""
        long_ago = self.database.steady_now() - keep_seconds

        def work(connection: sa.Connection) -> Sequence[Job]:
            old = sa.select(jobs.c.id).where(jobs.c.state.in_(FINISHED[:3]), jobs.c.finished < long_ago)
            self._expire(connection, connection.scalars(old).all())
            gone = sa.and_(jobs.c.state == "expired", jobs.c.emptied, jobs.c.finished < long_ago - keep_seconds)
            _delete(connection, connection.scalars(sa.select(jobs.c.id).where(gone)).all())
            return _to_empty(connection)

        return self.database.write(work)

    def expire_oldest(self, count: int = 1) -> Sequence[Job]:
        """The same for those that were finished first, whenever that was: where the store is full."""

        def work(connection: sa.Connection) -> Sequence[Job]:
            old = sa.select(jobs.c.id).where(jobs.c.state.in_(FINISHED[:3])).order_by(jobs.c.finished).limit(count)
            self._expire(connection, connection.scalars(old).all())
            return _to_empty(connection)

        return self.database.write(work)

    def _expire(self, connection: sa.Connection, ids: Sequence[str]) -> None:
        connection.execute(sa.update(jobs).where(jobs.c.id.in_(ids)).values(state="expired"))
        for id in ids:
            add_event(connection, id, "state", {"state": "expired"})

    def emptied(self, ids: Collection[str]) -> None:
        """The store holds nothing of these expired ones any more. What they asked for and their events go with it."""
        values = {"emptied": True, "results": [], "inputs": {}, "settings": {}, "warnings": []}
        chosen = sa.and_(jobs.c.id.in_(list(ids)), jobs.c.state == "expired")

        def work(connection: sa.Connection) -> None:
            connection.execute(sa.update(jobs).where(chosen).values(**values))
            connection.execute(sa.delete(events).where(events.c.job.in_(list(ids)), events.c.name != "state"))

        self.database.write(work)

    def with_photos(self, keep_seconds: float) -> Sequence[Job]:
        """Finished longer ago than that, and the store still holds what was sent with them."""
        long_ago = self.database.steady_now() - keep_seconds
        held = sa.and_(jobs.c.state.in_(FINISHED), jobs.c.finished <= long_ago, ~jobs.c.photos_gone, ~jobs.c.emptied)
        return self.database.read(
            lambda connection: [Job(**row) for row in connection.execute(sa.select(*COLUMNS).where(held)).mappings()]
        )

    def photos_gone(self, ids: Collection[str]) -> None:
        """The store does not hold what was sent with these any more."""
        chosen = jobs.c.id.in_(list(ids))
        self.database.write(
            lambda connection: connection.execute(sa.update(jobs).where(chosen).values(photos_gone=True, inputs={}))
        )

    def known(self, ids: Collection[str]) -> set[str]:
        """Which of these are jobs."""
        chosen = sa.select(jobs.c.id).where(jobs.c.id.in_(list(ids)))
        return self.database.read(lambda connection: set(connection.scalars(chosen)))


NEW = [one.name for one in fields(NewJob)] + ["content", "alike"]
JOB = {one.name for one in fields(Job)}


def _is(id: str, owner: str | None) -> Any:
    return jobs.c.id == id if owner is None else sa.and_(jobs.c.id == id, jobs.c.owner == owner)


def _job(connection: sa.Connection, which: Any, *, lock: bool = False) -> Job | None:
    chosen = sa.select(*COLUMNS).where(which)
    row = connection.execute(chosen.with_for_update() if lock else chosen).mappings().first()
    return None if row is None else Job(**row)


def _own(connection: sa.Connection, ids: Collection[str], worker: str) -> set[str]:
    """Which of them are this worker's now; their rows are locked."""
    chosen = sa.select(jobs.c.id).where(
        jobs.c.id.in_(list(ids)), jobs.c.claimed_by == worker, jobs.c.state == "running"
    )
    return set(connection.scalars(chosen.order_by(jobs.c.number).with_for_update()))


def _count(connection: sa.Connection, *which: Any) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(jobs).where(*which)) or 0


def _position(connection: sa.Connection, id: str) -> int | None:
    chosen = sa.select(jobs.c.priority, jobs.c.turn, jobs.c.number).where(jobs.c.id == id, jobs.c.state == "queued")
    one = connection.execute(chosen).first()
    if one is None:
        return None
    earlier = sa.tuple_(jobs.c.turn, jobs.c.number) < sa.tuple_(sa.literal(one.turn), sa.literal(one.number))
    before = sa.or_(jobs.c.priority > one.priority, sa.and_(jobs.c.priority == one.priority, earlier))
    return _count(connection, jobs.c.state == "queued", before)


def _rate(connection: sa.Connection) -> float:
    last = sa.select(jobs.c.started, jobs.c.finished, jobs.c.count).where(jobs.c.state == "done")
    rows = connection.execute(last.order_by(jobs.c.finished.desc()).limit(LOOKED_BACK)).all()
    busy, until = 0.0, -math.inf
    for started, finished, _ in sorted((row for row in rows if row.started is not None), key=lambda row: row.started):
        busy += max(0.0, finished - max(started, until))
        until = max(until, finished)
    return sum(row[2] for row in rows) / busy if busy > 0 else 0.0


def _to_empty(connection: sa.Connection) -> Sequence[Job]:
    chosen = sa.select(*COLUMNS).where(jobs.c.state == "expired", ~jobs.c.emptied)
    return [Job(**row) for row in connection.execute(chosen).mappings()]


def _delete(connection: sa.Connection, ids: Sequence[str]) -> None:
    connection.execute(sa.delete(events).where(events.c.job.in_(ids)))
    connection.execute(sa.delete(jobs).where(jobs.c.id.in_(ids)))

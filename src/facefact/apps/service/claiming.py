"""Who goes next, and what becomes of the jobs of a worker that died. All within the caller's transaction.

Order: priority, then fair turn, then age. A job that was begun before (`attempts` > 0) is a suspect: it may be what
killed its worker. It runs alone, and only what happens then is held against it: a crash in a batch says nothing about
which of the batch it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from facefact.apps.service.table import Database, events, jobs

MOST_CRASHES = 3
DIED = f"its worker died {MOST_CRASHES} times while it made this alone"
ORDER = (jobs.c.priority.desc(), jobs.c.turn, jobs.c.number)


@dataclass(frozen=True)
class Ahead:
    """What a new job finds: how many wait, how many of them are its owner's, and its turn."""

    waiting: int
    own: int
    turn: float


def ahead_of(connection: sa.Connection, owner: str, priority: int) -> Ahead:
    """The turn (start-time fair queueing, Goyal et al. 1996, counted in pictures) is behind what the owner has waiting
    already, but not behind what the others have beyond the turn that is on now. Of an owner with 500 jobs and one with
    a single job, the latter's is among the next two."""
    row = connection.execute(AHEAD, {"owner": owner, "priority": priority}).one()
    on_now = row.queued_turn if row.queued_turn is not None else row.running_turn
    return Ahead(row.waiting, row.own, max(on_now or 0.0, row.behind or 0.0))


def _ahead() -> sa.Select[Any]:
    """Built once: building a query takes longer than answering it."""
    queued, running = jobs.c.state == "queued", jobs.c.state == "running"
    same, mine = jobs.c.priority == sa.bindparam("priority"), jobs.c.owner == sa.bindparam("owner")
    waiting = sa.select(sa.func.count()).select_from(jobs).where(queued)
    last = sa.select(sa.func.max(jobs.c.turn + jobs.c.count)).where(sa.or_(queued, running), same, mine)
    asked = {
        "waiting": waiting,
        "own": waiting.where(mine),
        "queued_turn": sa.select(sa.func.min(jobs.c.turn)).where(queued, same),
        "running_turn": sa.select(sa.func.max(jobs.c.turn)).where(running, same),
        "behind": last,
    }
    return sa.select(*(one.scalar_subquery().label(name) for name, one in asked.items()))


AHEAD = _ahead()


def anything_to_do(database: Database, connection: sa.Connection) -> bool:
    """Reads only, so that many may look often."""
    queued = sa.exists().where(jobs.c.state == "queued")
    return bool(connection.scalar(sa.select(sa.or_(queued, sa.exists().where(_lapsed(database)))))) or bool(
        connection.scalar(sa.select(sa.exists().where(_too_long(database))))
    )


def take(
    database: Database, connection: sa.Connection, worker: str, *, batch: int, lease: float
) -> Sequence[sa.RowMapping]:
    """The rows that are this worker's now, as they were before: the next job, and those that fit into a batch with it.
    batch: pictures; a single job may have more."""
    waiting = sa.select(jobs).where(jobs.c.state == "queued").order_by(*ORDER).with_for_update(skip_locked=True)
    first = connection.execute(waiting.limit(1)).mappings().first()
    if first is None:
        return []
    rows = [first]
    if first["attempts"] == 0 and first["alike"] and first["count"] < batch:
        alike = waiting.where(
            jobs.c.alike == first["alike"],
            jobs.c.attempts == 0,
            jobs.c.priority == first["priority"],
            jobs.c.id != first["id"],
        )
        room = batch - first["count"]
        for row in connection.execute(alike.limit(batch)).mappings():
            if row["count"] <= room:
                rows.append(row)
                room -= row["count"]
    connection.execute(
        sa.update(jobs)
        .where(jobs.c.id.in_([row["id"] for row in rows]))
        .values(
            state="running",
            claimed_by=worker,
            lease=lease,
            lease_until=database.lease_now() + lease,
            attempts=jobs.c.attempts + 1,
            alone=len(rows) == 1,
            started=database.now(),
            progress=0.0,
        )
    )
    for row in rows:
        add_event(connection, row["id"], "state", {"state": "running"})
    return rows


def take_back(database: Database, connection: sa.Connection, whose: Any) -> list[str]:
    """Running jobs whose worker is dead are queued again, or failed; their ids. whose: which, a condition."""
    dead = sa.select(jobs.c.id, jobs.c.crashes, jobs.c.alone).where(jobs.c.state == "running", whose)
    rows = connection.execute(dead.with_for_update(skip_locked=True)).all()
    for row in rows:
        crashes = row.crashes + bool(row.alone)
        values: dict[str, Any] = {"state": "queued", "claimed_by": None, "lease_until": None, "progress": 0.0}
        if crashes >= MOST_CRASHES:
            values = {"state": "failed", "reason": DIED, "finished": database.now(), "lease_until": None}
        connection.execute(sa.update(jobs).where(jobs.c.id == row.id).values(crashes=crashes, **values))
        told: dict[str, Any] = {name: value for name, value in values.items() if name in ("state", "reason")}
        add_event(connection, row.id, "state", told)
    return [row.id for row in rows]


def take_back_lapsed(database: Database, connection: sa.Connection) -> list[str]:
    """Of the leases that ran out. A lease that ends later than any that was given could, for the clock was set back (or
    began anew, with the machine), is cut to its length from now: who lives renews it, and who died is noticed."""
    connection.execute(
        sa.update(jobs).where(_too_long(database)).values(lease_until=database.lease_now() + jobs.c.lease)
    )
    return take_back(database, connection, _lapsed(database))


def _lapsed(database: Database) -> Any:
    return sa.and_(jobs.c.state == "running", jobs.c.lease_until < database.lease_now())


def _too_long(database: Database) -> Any:
    return sa.and_(jobs.c.state == "running", jobs.c.lease_until > database.lease_now() + 1.5 * jobs.c.lease)


def add_event(connection: sa.Connection, job: str, name: str, data: dict[str, Any]) -> None:
    """Numbered within the job: its row's lock keeps two writers apart. Nothing for a job that is gone."""
    counted = connection.execute(sa.update(jobs).where(jobs.c.id == job).values(events=jobs.c.events + 1))
    if not counted.rowcount:
        return
    if name == "progress":
        connection.execute(sa.delete(events).where(events.c.job == job, events.c.name == name))
    number = connection.scalar(sa.select(jobs.c.events).where(jobs.c.id == job))
    connection.execute(sa.insert(events).values(job=job, number=number, name=name, data=data))

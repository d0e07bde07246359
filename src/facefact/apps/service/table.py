"""The tables of the service, and a database that is SQLite or PostgreSQL: transactions, clocks, patience.

SQLite: WAL, writers begin with BEGIN IMMEDIATE (a reader that turns writer would fail at once instead of waiting), and
synchronous=NORMAL: what was committed survives any kill; a power cut may take the last moments, never the file.
PostgreSQL: READ COMMITTED, rows are taken with SKIP LOCKED.

Two clocks. Leases go by one that all who claim share and nobody sets: the machine's monotonic clock for SQLite (one
machine by its nature), the server's for PostgreSQL. Days and hours are for people, and for how long results are kept:
the calendar as it was when the service opened the database, and the monotonic seconds since, so that a clock that is
set while the service runs neither expires everything nor keeps it for ever. Its workers are given the same (`clock`),
whatever the calendar says when they start; and a service whose calendar is behind what SQLite's rows say goes on from
there, as a machine does that has no clock until the network tells it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from facefact.apps.service.records import DatabaseGone
from facefact.types import UserError

log = logging.getLogger("facefact.service")

T = TypeVar("T")

metadata = sa.MetaData()

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("inputs", sa.JSON, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("key", sa.String(300)),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("content", sa.String(64), nullable=False),
    sa.Column("alike", sa.String(64)),
    sa.Column("turn", sa.Double, nullable=False),  # see `ahead_of` in claiming.py
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("crashes", sa.Integer, nullable=False, default=0),
    sa.Column("alone", sa.Boolean, nullable=False, default=False),  # whether its run shares no batch
    sa.Column("claimed_by", sa.String(200)),
    sa.Column("lease_until", sa.Double),
    sa.Column("lease", sa.Double),  # the length that was asked for, in seconds
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("started", sa.Double),
    sa.Column("finished", sa.Double),
    sa.Column("progress", sa.Double, nullable=False, default=0.0),
    sa.Column("reason", sa.Text),
    sa.Column("warnings", sa.JSON, nullable=False, default=list),
    sa.Column("results", sa.JSON, nullable=False, default=list),
    sa.Column("emptied", sa.Boolean, nullable=False, default=False),  # whether its files are gone from the store
    sa.Column("photos_gone", sa.Boolean, nullable=False, default=False),
    sa.Column("events", sa.Integer, nullable=False, default=0),  # the number of its last event
    sa.UniqueConstraint("owner", "key"),
    sa.Index("jobs_queue", "state", "priority", "turn", "number"),
    sa.Index("jobs_owner", "owner", "number"),
    sa.Index("jobs_turn", "owner", "state", "priority", "turn", "count"),
    sa.Index("jobs_finished", "state", "finished"),
)
events = sa.Table(
    "events",
    metadata,
    sa.Column("job", sa.String(40), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20), nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
)

# What may pass: locked, gone, restarted. (A wrong password or a missing table does not, but is the same to a driver.)
PASSING = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
BUSY = 5.0  # seconds that SQLite itself waits for a lock


class Database:
    """url: as SQLAlchemy has it; SQLite's folder is made. patience: seconds that a call waits for a database that is
    locked or gone. clock: the calendar less the monotonic clock, in seconds, as another process of this machine has
    found it; None: as it is now. UserError: no such kind of database, a driver that is missing, or it cannot be opened
    now."""

    def __init__(self, url: str, *, patience: float = 10.0, clock: float | None = None) -> None:
        self.url = _parsed(url)
        self.patience = patience
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = self._engine()
        self._made = False
        self._turn = threading.Lock()  # SQLite's writers in this process queue here: waiting for its file lock is slow
        try:
            with self.engine.begin() as connection:
                if not self.sqlite:  # two hosts that start at once
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCKS["tables"])))
                metadata.create_all(connection)
                self.clock = self._calendar(connection) - time.monotonic() if clock is None else clock
        except sa.exc.DBAPIError as error:
            raise UserError(f"cannot open the database {self.name}: {_line(error)}") from error
        self._made = True

    @property
    def name(self) -> str:
        """For messages: without the password."""
        return self.url.render_as_string(hide_password=True)

    def close(self) -> None:
        self.engine.dispose()

    def lease_now(self) -> Any:
        """The clock that leases go by, as an expression: seconds."""
        return sa.literal(time.monotonic(), sa.Double) if self.sqlite else _server_clock()

    def now(self) -> Any:
        """The calendar, as an expression: seconds since 1970."""
        return sa.literal(self.steady_now(), sa.Double) if self.sqlite else _server_clock()

    def steady_now(self) -> float:
        """The calendar when the service opened this database, and the seconds since: no setting of clocks moves it."""
        return self.clock + time.monotonic()

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """What `work` finds in one transaction. DatabaseGone: out of patience."""
        return self._patiently(work, write=False)

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """The same for a transaction that writes. Where the connection breaks it is run again, perhaps after it was
        committed all the same: `work` has to notice its own traces."""
        return self._patiently(work, write=True)

    def one_at_a_time(self, connection: sa.Connection, what: str) -> None:
        """Until this transaction ends, no other on any machine is past this call. (SQLite has one writer anyway.)"""
        if not self.sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCKS[what])))

    def _patiently(self, work: Callable[[sa.Connection], T], *, write: bool) -> T:
        until, pause, told = time.monotonic() + self.patience, 0.02, False
        while True:
            try:
                with self._own_turn(write, until):
                    return self._once(work, write=write)
            except PASSING as error:
                if time.monotonic() + pause > until:
                    raise DatabaseGone(f"the database {self.name} does not answer: {_line(error)}") from error
                if not told:
                    log.warning("the database %s does not answer (%s): trying again", self.name, _line(error))
                    told = True
                self.engine.dispose()  # a file that was moved away and back is opened anew
                time.sleep(pause)
                pause = min(2 * pause, 1.0)

    def _once(self, work: Callable[[sa.Connection], T], *, write: bool) -> T:
        with self.engine.connect().execution_options(facefact_write=write) as connection, connection.begin():
            return work(connection)

    @contextlib.contextmanager
    def _own_turn(self, write: bool, until: float) -> Iterator[None]:
        if not (write and self.sqlite):
            yield
            return
        if not self._turn.acquire(timeout=max(0.0, until - time.monotonic())):
            raise sa.exc.TimeoutError("other writers of this process wait for it too")
        try:
            yield
        finally:
            self._turn.release()

    def _calendar(self, connection: sa.Connection) -> float:
        if not self.sqlite:
            return float(connection.scalar(sa.select(_server_clock())) or 0.0)
        latest = connection.execute(sa.select(sa.func.max(jobs.c.created), sa.func.max(jobs.c.finished))).one()
        return max(time.time(), *(when or 0.0 for when in latest))

    def _engine(self) -> sa.Engine:
        try:
            if not self.sqlite:
                return sa.create_engine(self.url, pool_pre_ping=True, pool_size=5, max_overflow=20)
            return self._sqlite_engine()
        except (ImportError, sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
            raise UserError(f"no driver for the database {self.name}: {_line(error)}; see extra `postgres`") from error

    def _sqlite_engine(self) -> sa.Engine:
        import sqlite3

        path = Path(self.url.database or "")
        if not self.url.database or self.url.database == ":memory:":
            raise UserError("the jobs need a database in a file: sqlite:///PATH (in memory nothing survives)")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {path.parent}: {error.strerror}") from error

        def connect() -> sqlite3.Connection:
            mode = "rw" if self._made else "rwc"  # one that went away is waited for, not made anew and empty
            uri = f"{path.resolve().as_uri()}?mode={mode}"
            connection = sqlite3.connect(uri, uri=True, timeout=BUSY, check_same_thread=False, isolation_level=None)
            with contextlib.closing(connection.cursor()) as cursor:
                cursor.execute("PRAGMA journal_mode=WAL")
                cursor.execute("PRAGMA synchronous=NORMAL")
            return connection

        engine = sa.create_engine(f"sqlite:///{path}", creator=connect, pool_size=5, max_overflow=20)

        @sa.event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            reads = connection.get_execution_options().get("facefact_write") is False
            connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

        return engine


LOCKS = {"tables": 0x46414354_01, "submit": 0x46414354_02}  # numbers of PostgreSQL's advisory locks


def _parsed(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise UserError("the database's URL is none: sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise UserError(
            f"no jobs in {parsed.get_backend_name()}: sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME"
        )
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def _server_clock() -> Any:
    """clock_timestamp, unlike now(), moves within a transaction."""
    return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)


def _line(error: BaseException) -> str:
    """What the driver said, its first line."""
    said = getattr(error, "orig", None) or error
    return (str(said).strip() or type(said).__name__).splitlines()[0]

"""The workers of one machine: processes that are started, watched, and started again when they die.

    pool = LocalPool(options, workers=2)
    pool.start()      # returns when all are ready; UserError: what a worker says that the user has to mend
    pool.stop()       # what is nearly done is finished, all else given back

A worker that dies is noticed at once, its jobs wait again without their lease running out, and another takes its
place: at first without delay, later with longer and longer pauses. Where the database is SQLite the pool holds a lock
beside it as long as it runs: so a second service on the same file is refused, and this one knows that whoever claimed a
job before it started is dead.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

import sqlalchemy as sa

from facefact.apps.service.jobs import DatabaseGone, Jobs
from facefact.apps.service.worker_options import WorkerOptions
from facefact.types import UserError

log = logging.getLogger("facefact.service")

WATCHED = 0.05  # seconds between two looks at the processes
LONGEST_PAUSE = 60.0
HEALTHY = 120.0  # seconds after which a worker's death is not one of a row
GRACE = 30.0  # seconds from SIGTERM to SIGKILL


class LocalLock:
    """The lock beside a SQLite database. (Not inherited: a worker that outlives its service does not hold it.)"""

    def __init__(self, url: str) -> None:
        parsed = sa.make_url(url)
        self.path = parsed.database if parsed.get_backend_name() == "sqlite" else None
        self._file: IO[str] | None = None

    def take(self) -> bool:
        """Whether others may work on the database all the same: it is none in a file. UserError: another service has
        the lock."""
        if self.path is None:
            return True
        try:
            import fcntl
        except ImportError:  # no such lock on Windows
            return True
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            self._file = open(f"{self.path}.lock", "a")  # noqa: SIM115  (held until `release`)
        except OSError as error:
            raise UserError(f"cannot write beside {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            raise UserError(
                f"another service works on {self.path}: stop it, give another --data, or share PostgreSQL (--database)"
            ) from None
        return False

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass
class Slot:
    """A place for one worker. failures: deaths in a row."""

    number: int
    name: str = ""
    process: subprocess.Popen[str] | None = None
    began: float = 0.0
    next_start: float = 0.0
    failures: int = 0
    ready: bool = False

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Starting(Protocol):
    """A pool whose workers begin. ready: whether one has its model loaded. error: why none can."""

    @property
    def ready(self) -> bool: ...

    @property
    def error(self) -> str | None: ...


def wait_for_one(pool: Starting, timeout: float, *, log: str) -> None:
    """Until a worker is ready. timeout: seconds. UserError: what a worker says is wrong, or none was ready in time."""
    until = time.monotonic() + timeout
    while not pool.ready:
        if pool.error is not None:
            raise UserError(pool.error)
        if time.monotonic() > until:
            raise UserError(f"no worker was ready within {timeout:.0f} seconds: see {log}")
        time.sleep(WATCHED)


class LocalPool:
    """workers: how many processes. Any thread may ask `ready` and `alive`; start and stop belong to one."""

    def __init__(self, options: WorkerOptions, *, workers: int = 1) -> None:
        self.options = options
        self.slots = [Slot(number) for number in range(workers)]
        self.error: str | None = None
        self._stopping = threading.Event()
        self._lock = LocalLock(options.database)
        self._jobs: Jobs | None = None
        self._thread = threading.Thread(target=self._watch, name="pool", daemon=True)

    @property
    def ready(self) -> bool:
        """Whether any worker has its model loaded."""
        return any(slot.ready and slot.alive for slot in self.slots)

    @property
    def alive(self) -> int:
        """How many workers run."""
        return sum(slot.alive for slot in self.slots)

    def processes(self) -> dict[str, int]:
        """Name -> process id of the workers that run."""
        return {slot.name: slot.process.pid for slot in self.slots if slot.process and slot.alive}

    def start(self, *, wait: bool = True, timeout: float = 600.0) -> None:
        """Starts the workers. wait: until one of them is ready. UserError: another service has the database, or a
        worker says what is wrong with the model, the database or the store."""
        with_others = self._lock.take()
        try:
            self._jobs = Jobs.open(self.options.database)
            self.options = replace(self.options, clock=self._jobs.database.clock)
            if not with_others and (left := self._jobs.take_back()):
                log.warning("%d jobs of a service that died wait again", len(left))
            for slot in self.slots:
                self._begin(slot)
            self._thread.start()
            if wait:
                wait_for_one(self, timeout, log="the log")
        except BaseException:
            self.stop(grace=0.0)
            raise

    def stop(self, *, grace: float = GRACE) -> None:
        """Ends all workers: they finish what is nearly done, and give back the rest. grace: seconds after which they
        are killed (and their jobs wait again all the same)."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        for slot in self.slots:
            if slot.process is not None and slot.alive:
                slot.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + grace
        for slot in self.slots:
            if slot.process is not None:
                _end(slot.process, within=max(0.0, until - time.monotonic()))
                self._buried(slot)
        if self._jobs is not None:
            self._jobs.close()
        self._lock.release()

    def _watch(self) -> None:
        while not self._stopping.wait(WATCHED):
            for slot in self.slots:
                if slot.process is not None and not slot.alive:
                    self._buried(slot)
                    self._died(slot)
                elif slot.process is None and time.monotonic() >= slot.next_start:
                    self._begin(slot)

    def _begin(self, slot: Slot) -> None:
        slot.name = f"{socket.gethostname()}-{slot.number}-{secrets.token_hex(4)}"
        slot.ready, slot.began = False, time.monotonic()
        command = [sys.executable, "-m", "facefact.apps.service.worker"]
        slot.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with contextlib.suppress(BrokenPipeError):  # it died already: the watch sees it
            assert slot.process.stdin is not None
            slot.process.stdin.write(json.dumps({"name": slot.name, "options": asdict(self.options)}) + "\n")
            slot.process.stdin.flush()
        assert slot.process.stdout is not None
        threading.Thread(target=self._listen, args=(slot, slot.process.stdout), daemon=True).start()

    def _listen(self, slot: Slot, lines: IO[str]) -> None:
        """What one process says, until it ends."""
        with contextlib.suppress(ValueError):  # closed
            for line in lines:
                said: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
                if "error" in said:
                    self.error = said["error"]
                    log.error("a worker cannot begin: %s", self.error)
                elif said.get("ready"):
                    slot.ready, self.error = True, None

    def _buried(self, slot: Slot) -> None:
        """The jobs of a process that ended wait again."""
        assert self._jobs is not None
        assert slot.process is not None
        for pipe in (slot.process.stdin, slot.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            if left := self._jobs.take_back(slot.name):
                log.warning("worker %s died (exit code %s) with %d jobs", slot.name, slot.process.poll(), len(left))
        except DatabaseGone as error:  # then their lease runs out
            log.warning("%s", error)

    def _died(self, slot: Slot) -> None:
        """Another begins, after a pause that grows with the deaths in a row."""
        slot.process, slot.ready = None, False
        slot.failures = 0 if time.monotonic() - slot.began > HEALTHY else slot.failures + 1
        pause = min(LONGEST_PAUSE, 2.0 ** (slot.failures - 2)) if slot.failures > 1 else 0.0
        slot.next_start = time.monotonic() + pause


def _end(process: subprocess.Popen[str], *, within: float) -> None:
    try:
        process.wait(timeout=within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

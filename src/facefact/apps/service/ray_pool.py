"""The workers as Ray actors, on this machine or on a cluster: placed and restarted by Ray, as many as the queue wants.

    pool = RayPool(options, minimum=1, maximum=8, address="10.0.0.1:6379")

The jobs stay in the table, and an actor runs the very worker that a process of `pool.py` runs: results are the same. An
actor that Ray starts again takes its own jobs back at once; where a whole node is gone, leases run out.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from facefact.apps.service.jobs import DatabaseGone, Jobs
from facefact.apps.service.pool import GRACE, LONGEST_PAUSE, WATCHED, LocalLock, wait_for_one
from facefact.apps.service.worker_options import WorkerOptions
from facefact.types import UserError

log = logging.getLogger("facefact.service")

LOOKED_AT = 1.0  # seconds between two looks at the queue
IDLE = 60.0  # seconds for which fewer workers have to be enough before one goes


class RayWorker:
    """The actor. name: of its place; an actor that was restarted has another ending."""

    def __init__(self, options: dict[str, Any], place: str) -> None:
        self.options, self.place, self.name = WorkerOptions(**options), place, f"{place}.{secrets.token_hex(4)}"
        self.worker: Any = None
        self._opening = threading.Lock()

    def open(self) -> str | None:
        """Loads the model, if it is not there; what the user has to mend, if anything."""
        from facefact.apps.service.worker import open_worker

        logging.getLogger("facefact.service").setLevel(logging.WARNING)
        with self._opening:
            try:
                self.worker = self.worker or open_worker(self.options, self.name)
            except UserError as error:
                return str(error)
        return None

    def run(self) -> None:
        """Works until `stop`; what an earlier life of this place had claimed waits again."""
        if (error := self.open()) is not None:
            raise UserError(error)
        self.worker.jobs.take_back(f"{self.place}.")
        self.worker.run()

    def stop(self, patience: float) -> None:
        """`run` returns soon. patience: seconds of work that it may still finish."""
        if self.worker is not None:
            self.worker.beat.patience = patience
            self.worker.stop.set()

    def process(self) -> int:
        return os.getpid()


@dataclass
class Place:
    """An actor and what it promised: `opened` (None or an error) and `ran`."""

    name: str
    actor: Any
    opened: Any
    ran: Any
    ready: bool = False
    leaving: bool = False
    began: float = field(default_factory=time.monotonic)


def is_here(address: str) -> bool:
    """Whether HOST:PORT is of this machine."""
    host = address.removeprefix("ray://").rpartition(":")[0].strip("[]")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
            one.bind((host, 0))
    except OSError:
        return False
    return True


class RayPool:
    """As `LocalPool`. minimum, maximum: how many actors. address: of a cluster that runs, HOST:PORT; None starts one on
    this machine. Each actor has a GPU where the cluster has any."""

    def __init__(
        self, options: WorkerOptions, *, minimum: int = 1, maximum: int = 1, address: str | None = None
    ) -> None:
        if not 1 <= minimum <= maximum:
            raise UserError(f"{minimum} to {maximum} workers: at least 1, and no more at least than at most")
        if address is not None and options.database.startswith("sqlite") and not is_here(address):
            raise UserError(
                "workers on other machines cannot share a SQLite file: --database postgresql://USER@HOST/NAME"
            )
        self.options, self.minimum, self.maximum, self.address = options, minimum, maximum, address
        self.places: list[Place] = []
        self.error: str | None = None
        self._prefix = f"ray-{secrets.token_hex(4)}"
        self._count = 0
        self._failures, self._next = 0, 0.0
        self._enough_since = time.monotonic()
        self._stopping = threading.Event()
        self._lock = LocalLock(options.database)
        self._thread = threading.Thread(target=self._watch, name="ray pool", daemon=True)

    @property
    def ready(self) -> bool:
        """Whether any worker has its model loaded."""
        return any(place.ready for place in self.places)

    @property
    def alive(self) -> int:
        """How many workers there are, in Ray's eyes."""
        return len(self.places)

    def processes(self) -> dict[str, int]:
        """Name of its place -> process id of the workers that answer, on whatever machine."""
        found = {}
        for place in list(self.places):
            try:
                found[place.name] = self.ray.get(place.actor.process.remote(), timeout=5)
            except Exception as error:  # dead, or being restarted
                log.debug("%s: %s", place.name, error)
        return found

    def start(self, *, wait: bool = True, timeout: float = 600.0) -> None:
        """As `LocalPool.start`. UserError, too: no Ray, or no cluster at the address."""
        from facefact.data import ray_engine

        with_others = self._lock.take()
        try:
            self.jobs = Jobs.open(self.options.database)
            if not with_others:  # (other machines have other monotonic clocks)
                self.options = replace(self.options, clock=self.jobs.database.clock)
            if not with_others:
                self.jobs.take_back()
            self.ray = ray_engine.import_ray()
            self._started = ray_engine.start(self.ray, self.address, self.maximum)
            gpus = self.ray.cluster_resources().get("GPU", 0)
            how = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "max_concurrency": 4}
            again = {"max_restarts": -1, "max_task_retries": -1}  # in a new process, and `run` with it
            self._actor = self.ray.remote(**how, **again)(RayWorker)
            for _ in range(self.minimum):
                self._begin()
            self._thread.start()
            if wait:
                wait_for_one(self, timeout, log="Ray's log")
        except BaseException:
            self.stop(grace=0.0)
            raise

    def stop(self, *, grace: float = GRACE) -> None:
        """Ends all workers, as `LocalPool.stop`, and the cluster if it was started here."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        for place in self.places:
            place.actor.stop.remote(min(grace, 20.0))
        if self.places:
            self.ray.wait([place.ran for place in self.places], num_returns=len(self.places), timeout=max(grace, 0.01))
        for place in list(self.places):
            self._bury(place)
        if getattr(self, "_started", False):
            self.ray.shutdown()
        if hasattr(self, "jobs"):
            self.jobs.close()
        self._lock.release()

    def _begin(self) -> None:
        self._count += 1
        name = f"{self._prefix}-{self._count}"
        actor = self._actor.remote(asdict(self.options), name)
        self.places.append(Place(name, actor, actor.open.remote(), actor.run.remote()))

    def _bury(self, place: Place) -> None:
        """Its actor is gone for good; what it had claimed waits again."""
        self.ray.kill(place.actor)
        self.places.remove(place)
        try:
            self.jobs.take_back(f"{place.name}.")
        except DatabaseGone as error:  # then their lease runs out
            log.warning("%s", error)

    def _watch(self) -> None:
        looked = float("-inf")
        while not self._stopping.wait(WATCHED):
            for place in list(self.places):
                self._look_at(place)
            if time.monotonic() - looked > LOOKED_AT:
                looked = time.monotonic()
                self._fit()

    def _look_at(self, place: Place) -> None:
        """Whether it is ready, or has ended: of itself, or because it could not begin, or Ray gave it up."""
        if not place.ready and self._has(place.opened):
            said = self._said(place.opened)
            place.ready = said is None
            if said is not None:
                self.error = said
                log.error("a worker cannot begin: %s", said)
        if self._has(place.ran):
            if (died := self._said(place.ran)) is not None:
                log.warning("worker %s ended: %s", place.name, died)
                healthy = time.monotonic() - place.began > IDLE
                self._failures = 0 if healthy else self._failures + 1
                self._next = time.monotonic() + min(LONGEST_PAUSE, 2.0**self._failures)
            self._bury(place)

    def _has(self, promise: Any) -> bool:
        return bool(self.ray.wait([promise], timeout=0)[0])

    def _said(self, promise: Any) -> str | None:
        from facefact.data.ray_engine import explained

        try:
            said = self.ray.get(promise)
        except Exception as error:
            return str(explained(error))
        return None if said is None else str(said)

    def _fit(self) -> None:
        """As many workers as the queue keeps busy. One goes when fewer have been enough for a while."""
        try:
            counts = self.jobs.counts()
        except DatabaseGone as error:
            log.warning("%s", error)
            return
        staying = [place for place in self.places if not place.leaving]
        busy = math.ceil(counts["queued"] / self.options.batch) + min(counts["running"], len(staying))
        wanted = min(self.maximum, max(self.minimum, busy))
        now = time.monotonic()
        if wanted >= len(staying):
            self._enough_since = now
            if wanted > len(staying) and now >= self._next:
                self._begin()
        elif now - self._enough_since > IDLE:
            self._enough_since = now
            staying[-1].leaving = True
            staying[-1].actor.stop.remote(LONGEST_PAUSE)

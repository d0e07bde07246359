"""A worker: a process with one warm model, which makes jobs until it is told to stop.

    python -m facefact.apps.service.worker < options.json

The options come through standard input (a database's password among them, which the list of processes must not show),
and the pipe stays open: when it closes, whoever started this worker is dead, and it ends at once. On standard output it
says one line of JSON: {"ready": true} when the model is loaded, or {"error": "..."}: what the user has to mend.
SIGTERM: what is nearly done is finished, all else given back. A second one: given back at the next step.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from facefact.apps.service.beat import Beat
from facefact.apps.service.jobs import DatabaseGone, Jobs
from facefact.apps.service.store import Store, StoreGone, open_store
from facefact.apps.service.work import Made, Maker, Stop
from facefact.apps.service.worker_options import WorkerOptions
from facefact.generate import Studio
from facefact.generate.models import native_size
from facefact.generate.provenance import NO_PROVENANCE, Provenance
from facefact.generate.watermark import refuse_small
from facefact.types import UserError

log = logging.getLogger("facefact.service")

T = TypeVar("T")

POLL = 0.05  # seconds between two looks for work; a look is a read of an index
PAUSE = 2.0  # seconds after the store failed
NICE = 5  # how much lower its priority is than that of who answers, who needs little and needs it at once


class Worker:
    """name: no other worker has or had it. stop: set it, and `run` returns soon."""

    def __init__(
        self,
        options: WorkerOptions,
        name: str,
        *,
        studio: Studio,
        jobs: Jobs,
        store: Store,
        provenance: Provenance = NO_PROVENANCE,
    ) -> None:
        self.options, self.name, self.jobs, self.store = options, name, jobs, store
        self.stop = threading.Event()
        self.beat = Beat(jobs, name, lease=options.lease, deadline=options.deadline, ending=self.stop.is_set)
        self.maker = Maker(studio, store, self.beat, batch=options.batch, provenance=provenance)

    def run(self) -> None:
        """Makes jobs until it is stopped. A database or a store that is gone is waited for."""
        try:
            while not self.stop.is_set():
                try:
                    if not self.once():
                        self.stop.wait(POLL)
                except DatabaseGone as error:
                    log.warning("%s", error)
                except StoreGone as error:
                    log.error("%s: its jobs wait", error)
                    self.stop.wait(PAUSE)
        finally:
            self.beat.close()

    def once(self) -> bool:
        """Makes one batch; whether there was any."""
        claimed = self.jobs.claim(self.name, batch=self.options.batch, lease=self.options.lease)
        if not claimed:
            return False
        self.beat.begin([job.id for job in claimed])
        left = {job.id for job in claimed}
        try:
            for made in self.maker.make(claimed):
                self._told(made)
                left.discard(made.job.id)
        except Stop:
            self._give_back(left)
        except (StoreGone, DatabaseGone):
            self._give_back(left)
            raise
        return True

    def _told(self, made: Made) -> None:
        """The table hears how a job ended; what nobody wants any more is deleted."""
        id, warnings = made.job.id, made.warnings
        if made.reason is None:
            counted = self._insist(lambda: self.jobs.finish(id, self.name, results=made.results, warnings=warnings))
        else:
            reason = made.reason
            counted = self._insist(lambda: self.jobs.fail(id, self.name, reason, warnings=warnings))
        self.beat.end(id)
        if not counted:
            self._clear(id)
        elif not self.options.keep_photos:
            self._delete_photos(id)

    def _give_back(self, ids: set[str]) -> None:
        for id in ids:
            self.beat.end(id)
        self._insist(lambda: self.jobs.give_back(ids, self.name))
        for id in ids:
            self._clear(id)

    def _insist(self, call: Callable[[], T]) -> T:
        """What was made counts only when the table knows it, so a database that is gone is waited for."""
        while True:
            try:
                return call()
            except DatabaseGone as error:
                if self.stop.is_set():
                    raise
                log.warning("%s", error)

    def _clear(self, id: str) -> None:
        """Deletes what the store has of a job that was cancelled or forgotten while it was made."""
        job = self.jobs.get(id)
        if job is None:
            self.store.delete_all(id)
        elif job.state == "cancelled":
            for k in range(job.count):
                for suffix in (".png", ".jpg", ".webp"):
                    self.store.delete(f"{id}/{k}{suffix}")
            if not self.options.keep_photos:
                self._delete_photos(id)

    def _delete_photos(self, id: str) -> None:
        self.store.delete_all(f"{id}/input")
        self.jobs.photos_gone([id])


def open_worker(options: WorkerOptions, name: str) -> Worker:
    """With its model loaded. UserError: the model, the database or the store cannot be opened; nothing can be signed
    with this key; or the pictures of this model are too small for the mark."""
    from facefact.apps.progress import silence_loading

    provenance = _provenance(options)
    jobs, store = Jobs.open(options.database, clock=options.clock), open_store(options.store)
    silence_loading()
    studio = Studio.open(**options.studio)
    if options.watermark:
        side = native_size(studio.pipe)
        refuse_small(side, side)
    studio.pipe.set_progress_bar_config(disable=True)
    studio.detector  # noqa: B018  (opened now, so that the first job does not wait for it)
    return Worker(options, name, studio=studio, jobs=jobs, store=store, provenance=provenance)


def _provenance(options: WorkerOptions) -> Provenance:
    if options.c2pa_key is None or options.c2pa_cert is None:
        return Provenance(watermark=options.watermark)
    from facefact.generate.signing import Signer

    return Provenance(signer=Signer.open(options.c2pa_key, options.c2pa_cert), watermark=options.watermark)


def main() -> int:
    """Exit codes as those of `facefact`."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    first = sys.stdin.readline()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; who started this says SIGTERM
    asked = json.loads(first)
    with contextlib.suppress(AttributeError, OSError):  # not on Windows
        os.nice(NICE)  # before PyTorch has threads: on Linux each has its own
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        worker = open_worker(WorkerOptions(**asked["options"]), asked["name"])
    except UserError as error:
        _say({"error": str(error)})
        return 2
    signal.signal(signal.SIGTERM, lambda *_: _terminate(worker))
    if stopped.is_set():
        return 0
    _say({"ready": True})
    worker.run()
    return 0


def _terminate(worker: Worker) -> None:
    if worker.stop.is_set():
        worker.beat.patience = 0.0
    worker.stop.set()


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def _end_with_parent() -> None:
    """Its jobs are taken over by whoever comes next; a worker without a service would only hold them up."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

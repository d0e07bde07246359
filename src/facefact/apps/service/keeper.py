"""What is kept, and for how long: results and photos expire, the store has a limit, nothing is left over.

Several may sweep the same store at once; all that they do may be done twice.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Sequence

from facefact.apps.service.jobs import DatabaseGone, Job, Jobs
from facefact.apps.service.store import Store, StoreGone

log = logging.getLogger("facefact.service")

OWN = re.compile("[0-9a-f]{20}")  # what `new_id` makes: nothing else in the store is ever deleted
ORPHANED = 3600.0  # seconds after which files without a job are left over: their sender died before it asked
EVERY = 30.0  # seconds between two sweeps
AT_LEAST = 1.0  # seconds between two sweeps for want of room
SOME = 20  # results that go at a time where there is no room


class StoreFull(Exception):
    """The store holds as much as it may, and nothing of it is finished; one line."""


class Keeper:
    """keep: seconds that results, and all that belongs to a finished job, are kept; None for ever. keep_photos: seconds
    that photos are kept after their job is finished; None as long as the job. store_limit: bytes; None without."""

    def __init__(
        self,
        jobs: Jobs,
        store: Store,
        *,
        keep: float | None = 7 * 86400.0,
        keep_photos: float | None = None,
        store_limit: int | None = None,
    ) -> None:
        self.jobs, self.store = jobs, store
        self.keep, self.keep_photos, self.store_limit = keep, keep_photos, store_limit
        self._lock = threading.Lock()
        self._size = 0  # bytes, as measured last and with what came since
        self._measured = float("-inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Sweeps now and then, in a thread that ends with the process or at `stop`."""
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def sweep(self) -> None:
        """Once. DatabaseGone, StoreGone: what is left is for the next time."""
        with self._lock:
            if self.keep is not None:
                self._empty(self.jobs.expire(self.keep))
            if self.keep_photos is not None:
                gone = self.jobs.with_photos(self.keep_photos)
                for job in gone:
                    self.store.delete_all(f"{job.id}/input")
                self.jobs.photos_gone([job.id for job in gone])
            self._delete_orphans()
            if self.store_limit is not None:
                self._make_room(self.store_limit, 0)

    def check_room(self, size: int = 0) -> None:
        """Whether so many bytes more may come; they count as there from now on. StoreFull: no, though the results that
        were oldest have gone."""
        if self.store_limit is None:
            return
        with self._lock:
            if self._size + size > self.store_limit or self._measured == float("-inf"):
                self._make_room(self.store_limit, size)
            if self._size + size > self.store_limit:
                raise StoreFull("the store is full of what is still to be made: try again later")
            self._size += size

    def _make_room(self, limit: int, size: int) -> None:
        """The results that were finished first go, as many as needed."""
        if time.monotonic() - self._measured < AT_LEAST:
            return
        self._size = self.store.size()
        while self._size + size > limit and (old := self.jobs.expire_oldest(SOME)):
            self._empty(old)
            self._size = self.store.size()
        self._measured = time.monotonic()

    def _empty(self, expired: Sequence[Job]) -> None:
        for job in expired:
            self.store.delete_all(job.id)
        if expired:
            self.jobs.emptied([job.id for job in expired])

    def _delete_orphans(self) -> None:
        """Files of no job: whose sender died between the photos and the question, or that came after the job was
        forgotten."""
        old = [id for id, age in self.store.ids().items() if age > ORPHANED and OWN.fullmatch(id)]
        for id in sorted(set(old) - self.jobs.known(old)):
            self.store.delete_all(id)

    def _run(self) -> None:
        while True:
            try:
                self.sweep()
            except (DatabaseGone, StoreGone) as error:
                log.warning("%s", error)
            if self._stop.wait(EVERY):
                return

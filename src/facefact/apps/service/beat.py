"""The heart of a worker: a thread that renews the leases of what is being made, and hears what is wanted no more.

It is a thread, because nothing else goes on while a model computes a long step or is being loaded; and it stops when
nothing has moved for too long, because a worker that hangs must not hold its jobs for ever.
"""

from __future__ import annotations

import base64
import io
import logging
import os
import threading
import time
from collections.abc import Callable, Collection

from PIL import Image

from facefact.apps.service.jobs import DatabaseGone, Jobs
from facefact.apps.service.work import Stop

log = logging.getLogger("facefact.service")

OFTEN = 0.1  # seconds between two renewals while steps are made: by then a cancellation is heard
STUCK = 70  # exit code of a worker that hangs


class Beat:
    """A `Watch` of the jobs that one worker makes. lease: seconds. deadline: seconds without a step after which the
    process ends, so that its jobs run elsewhere. ending: whether the worker is to stop; patience: seconds of work that
    it may still finish then."""

    def __init__(
        self,
        jobs: Jobs,
        worker: str,
        *,
        lease: float,
        deadline: float,
        ending: Callable[[], bool],
        patience: float = 20.0,
        die: Callable[[], None] = lambda: os._exit(STUCK),
    ) -> None:
        self.jobs, self.worker, self.lease, self.deadline, self.die = jobs, worker, lease, deadline, die
        self.ending, self.patience = ending, patience
        self._lock = threading.Lock()
        self._told = threading.Event()
        self._closed = False
        self._own: set[str] = set()
        self._unwanted: set[str] = set()
        self._progress: dict[str, float] = {}
        self._previews: list[tuple[str, int, Image.Image]] = []
        self._began = self._moved = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="beat", daemon=True)
        self._thread.start()

    def begin(self, ids: Collection[str]) -> None:
        """These are being made from now on."""
        with self._lock:
            self._own, self._unwanted, self._progress, self._previews = set(ids), set(), {}, []
            self._began = self._moved = time.monotonic()

    def end(self, id: str) -> None:
        """This one is not any more."""
        with self._lock:
            self._own.discard(id)
            self._moved = time.monotonic()

    def unwanted(self, id: str) -> bool:
        """Whether it was cancelled, or belongs to another worker by now."""
        with self._lock:
            return id in self._unwanted

    def close(self) -> None:
        self._closed = True
        self._told.set()
        self._thread.join(timeout=self.lease)

    def step(self, progress: dict[str, float]) -> None:
        with self._lock:
            self._moved = time.monotonic()
            self._progress |= progress
            unwanted = progress.keys() <= self._unwanted
        self._told.set()
        if unwanted:
            raise Stop("nobody wants it any more")
        if self.ending() and self._left(min(progress.values())) > self.patience:
            raise Stop("the worker is to end")

    def preview(self, id: str, number: int, image: Image.Image) -> None:
        with self._lock:
            self._previews.append((id, number, image))
        self._told.set()

    def _left(self, share: float) -> float:
        """Seconds until all is made, by how long it took so far."""
        return (time.monotonic() - self._began) * (1 - share) / max(share, 1e-3)

    def _run(self) -> None:
        while not self._closed:
            self._told.wait(self.lease / 3)
            self._told.clear()
            if self._closed:
                return
            try:
                self._renew()
            except DatabaseGone as error:
                log.warning("%s", error)  # the work goes on; whether it still counts shows when it is done
            time.sleep(OFTEN)

    def _renew(self) -> None:
        with self._lock:
            own, progress, self._progress = set(self._own), self._progress, {}
            previews, self._previews = self._previews, []
            still = time.monotonic() - self._moved
        if not own:
            return
        if still > self.deadline:
            log.error("no step for %.0f seconds: this worker ends, and its jobs run elsewhere", still)
            self.die()
        unwanted = self.jobs.renew(own, self.worker, lease=self.lease, progress=progress)
        with self._lock:
            self._unwanted |= unwanted & self._own
        for id, number, image in previews:
            if id not in unwanted:
                self.jobs.note(id, "preview", {"image": number, "jpeg": _jpeg(image)})


def _jpeg(image: Image.Image) -> str:
    """Base64 of a small JPEG: some kilobytes."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=75)
    return base64.b64encode(file.getvalue()).decode("ascii")

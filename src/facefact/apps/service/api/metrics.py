"""Figures for Prometheus: the queue, what became of jobs, seconds by stage, memory. No names, no prompts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily

from facefact.apps.service.jobs import STATES, DatabaseGone, Jobs

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
LOOKED_BACK = 200  # finished jobs between two looks; what is more than that is not counted


class Metrics:
    """One service's figures. Any thread may call."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs, self._lock = jobs, Lock()
        self._seen: list[str] | None = None
        self.registry = CollectorRegistry()
        self._stages = Histogram(
            "facefact_stage_seconds",
            "Seconds by stage: upload (decoding one picture), queued, painting (a whole job)",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._requests = Histogram(
            "facefact_request_seconds",
            "Seconds until a request was answered",
            ["method", "route", "status"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._pictures = Counter("facefact_pictures", "Pictures that were finished", registry=self.registry)
        self.registry.register(self)  # type: ignore[arg-type]
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def stage(self, name: str, seconds: float) -> None:
        self._stages.labels(name).observe(max(0.0, seconds))

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """route: as it is written (`/v1/portraits/{id}`), never with what was put in."""
        self._requests.labels(method, route, status).observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' format."""
        with self._lock, contextlib.suppress(DatabaseGone):
            self._look_at_finished()
        return generate_latest(self.registry)

    def _look_at_finished(self) -> None:
        """What was finished since the last look."""
        done = self._jobs.list(state="done", limit=LOOKED_BACK)
        known, self._seen = self._seen, [job.id for job in done]
        for job in done if known is not None else ():
            if job.id in known or job.started is None or job.finished is None:  # type: ignore[operator]
                continue
            self._pictures.inc(job.count)
            self.stage("queued", job.started - job.created)
            self.stage("painting", job.finished - job.started)

    def collect(self) -> Iterator[Any]:
        """What is asked of the table and of the system at the moment it is wanted."""
        counts: dict[Any, int] = {}
        with contextlib.suppress(DatabaseGone):
            counts = dict(self._jobs.counts())
        jobs = GaugeMetricFamily("facefact_jobs", "Jobs in the table, by state", labels=["state"])
        for state in STATES:
            jobs.add_metric([state], counts.get(state, 0))
        yield jobs
        yield GaugeMetricFamily("facefact_queue_length", "Jobs that wait", value=counts.get("queued", 0))
        rate = 0.0
        with contextlib.suppress(DatabaseGone):
            rate = self._jobs.rate()
        yield GaugeMetricFamily("facefact_pictures_a_second", "Rate of the last finished jobs", value=rate)
        memory = sum(resident(pid) for pid in children())
        yield GaugeMetricFamily("facefact_children_memory_bytes", "Memory of workers and decoders", value=memory)


def children() -> list[int]:
    """Processes of this one and below, where the system tells."""
    found, todo = [], [os.getpid()]
    while todo:
        for file in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError, ValueError):
                pids = [int(one) for one in file.read_text().split()]
                found += pids
                todo += pids
    return found


def resident(pid: int) -> int:
    """Bytes; 0 for a process that is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")

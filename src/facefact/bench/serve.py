"""`facefact bench serve`: what the service costs and bears, with the embedded model, over HTTP as any client has it.

    load      so many submissions of one photo from so many clients against a bounded queue, while a worker paints:
              steady (they come at a rate that does not wait for answers, as those of many people do) and at once (each
              client sends its next as soon as it has an answer: what the service can do at most). Each submission has
              an answer, each accepted job is found again, and the memory of the process that answers stays
    pick-up   seconds from an idle service's yes until a worker has begun
    batch     portraits an hour with a queue of so many, --batch N against one by one: two services in turns, so that
              what slows the machine slows both

A submission's seconds begin when it was to be sent, not when a late client came to it.
"""

from __future__ import annotations

import http.client
import io
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from facefact.bench.memory import MIB, resident_of
from facefact.bench.serve_process import Served
from facefact.bench.timing import machine, spread
from facefact.client import Client
from facefact.client.wire import form
from facefact.types import UserError

PARTS = ("load", "pick-up", "batch")
PROMPT = "portrait of a person, with long red hair, smiling, facing forward, in a blue hoodie, at the beach, daylight"
MEMORY_LOOK = 0.25  # seconds
TIMEOUT = 120.0  # seconds for an answer
PAINTING = 1800.0  # seconds for a round of portraits
LOOK = 0.1
OPTIONS = ("--offline", "--workers", "1")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Load:
    """submissions, clients: in all. rate: submissions a second of the steady part. queue: how many may wait. depth:
    portraits of a round of the batches. batch: painted at a time. steps: of each of these. rounds: of the batches.
    pick_ups: measured."""

    submissions: int = 1000
    clients: int = 50
    rate: float = 15.0
    queue: int = 500
    depth: int = 32
    batch: int = 8
    steps: int = 10
    rounds: int = 3
    pick_ups: int = 20


@dataclass(frozen=True)
class Answer:
    """seconds: from when it was to be sent to the whole answer. begun: when that was, seconds since the first. status:
    HTTP's, 0 where the connection broke. retry_after: whether a 429 says when to come again."""

    seconds: float
    begun: float
    status: int
    id: str | None = None
    retry_after: bool = False


def bench_serve(
    load: Load | None = None, *, parts: Sequence[str] = PARTS, progress: Progress = lambda *told: None
) -> dict[str, Any]:
    """The figures; see the top of this file. UserError: the service does not begin or gives up."""
    load = load or Load()
    check(load)
    found: dict[str, Any] = {"machine": machine(), "settings": asdict(load)}
    with tempfile.TemporaryDirectory(prefix="facefact-bench-") as temporary:
        place = Path(temporary)
        if "load" in parts:
            found["load"] = {
                "steady": under_load(place / "steady", load, load.rate, progress),
                "at_once": under_load(place / "at_once", load, None, progress),
            }
        if "pick-up" in parts:
            found["pick_up"] = pick_up(place / "pick_up", load, progress)
        if "batch" in parts:
            found["batch"] = batches(place / "batch", load, progress)
    return found


def check(load: Load) -> None:
    """UserError: numbers that measure nothing."""
    for name, value in asdict(load).items():
        if value <= 0:
            raise UserError(f"{name} is a number above 0, not {value:g}")
    if load.batch < 2:
        raise UserError("a batch of 1 is what it is compared with: 2 or more")
    if load.submissions < load.clients:
        raise UserError(f"{load.clients} clients for {load.submissions} submissions: some would send nothing")


def photo() -> bytes:
    """Somebody whom the embedded model has never seen, as a JPEG of 256 px."""
    from facefact.world import look, person, render

    file = io.BytesIO()
    Image.fromarray(render(person(10**6), look(0), size=256).image).save(file, "JPEG", quality=90)
    return file.getvalue()


# Load


def under_load(folder: Path, load: Load, rate: float | None, progress: Progress) -> dict[str, Any]:
    """rate: submissions a second; None: each client as fast as it is answered."""
    name = "at once" if rate is None else "steady"
    with Served(folder, [*OPTIONS, "--queue-limit", str(load.queue), "--batch", str(load.batch)]) as service:
        client = Client(service.url)
        sending = client.portraits(face=photo(), prompt=PROMPT, steps=load.steps, wait=True, progress=False)
        made_before = sending.state == "done"
        with Memory(service.pid) as memory:
            answers = submissions(service.url, load, rate, lambda n: progress(name, n, load.submissions))
        jobs = {job.id: job.state for job in client.jobs()}
    accepted = [one.id for one in answers if one.status == 202]
    refused = [one for one in answers if one.status == 429]
    seconds = np.array([one.seconds for one in answers])
    states = Counter(jobs[id] for id in accepted if id in jobs)
    wall = max(one.begun + one.seconds for one in answers)
    return {
        "rate_asked": rate,
        "answers": {str(status): count for status, count in sorted(Counter(one.status for one in answers).items())},
        "without_answer": load.submissions - sum(one.status in (202, 429) for one in answers),
        "refused_without_retry_after": sum(not one.retry_after for one in refused),
        "lost": sum(id not in jobs for id in accepted),
        "twice": len(accepted) - len(set(accepted)),
        "unasked": len(jobs) - made_before - len(set(accepted)),
        "states": dict(sorted(states.items())),
        "seconds": percentiles(seconds),
        "seconds_accepted": percentiles(np.array([one.seconds for one in answers if one.status == 202])),
        "seconds_refused": percentiles(np.array([one.seconds for one in refused])),
        "submissions_per_second": round(len(answers) / wall, 2),
        "made_meanwhile": states["done"],
        "memory_mib": memory.figures(),
    }


def submissions(url: str, load: Load, rate: float | None, told: Callable[[int], None] = lambda n: None) -> list[Answer]:
    """The answers to all, in the order of their sending. Each wish has a seed of its own."""
    shown, began, lock = photo(), time.monotonic(), threading.Lock()
    done: list[Answer] = []

    def one_client(number: int) -> None:
        for turn in range(number, load.submissions, load.clients):
            due = time.monotonic() if rate is None else began + turn / rate
            time.sleep(max(0.0, due - time.monotonic()))
            body, kind = form({"prompt": PROMPT, "steps": load.steps, "seed": turn}, {"face": shown})
            status, said, retry = send(url, body, {"Content-Type": kind, "Idempotency-Key": f"bench-{turn}"})
            id = said.get("id") if status == 202 else None
            with lock:
                done.append(Answer(time.monotonic() - due, due - began, status, id, retry))
                told(len(done))

    with ThreadPoolExecutor(load.clients) as many:
        for one in [many.submit(one_client, number) for number in range(load.clients)]:
            one.result()
    return sorted(done, key=lambda one: one.begun)


def send(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any], bool]:
    """Once, on a connection of its own: status (0: it broke), what was said, whether it says when to come again. (The
    client comes again by itself; here every answer counts.)"""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)
    try:
        connection.request("POST", "/v1/portraits", body=body, headers=headers | {"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), "Retry-After" in answer.headers
    except (OSError, http.client.HTTPException, ValueError):
        return 0, {}, False
    finally:
        connection.close()


def percentiles(seconds: np.ndarray) -> dict[str, Any]:
    """Milliseconds."""
    if not len(seconds):
        return {"n": 0}
    p50, p95, p99 = np.percentile(1000 * seconds, (50, 95, 99)).round(1).tolist()
    return {"n": len(seconds), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": round(1000 * seconds.max(), 1)}


class Memory:
    """The resident set of a process while the body of `with` runs, in MiB."""

    def __init__(self, pid: int) -> None:
        self.pid, self.points = pid, list[tuple[float, float]]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while True:
            if (found := resident_of(self.pid)) is not None:
                self.points.append((time.monotonic() - began, found[0] / MIB))
            if self._stop.wait(MEMORY_LOOK):
                return

    def figures(self) -> dict[str, Any]:
        """before: the first look. quarters: the median of each quarter of the time; growth: of the last over the
        second (the first fills caches and starts threads). most: at any look."""
        if len(self.points) < 4:
            return {"skipped": "no /proc here, or it was over too soon"}
        values = np.array([value for _, value in self.points])
        quarters = [round(float(np.median(part)), 1) for part in np.array_split(values, 4)]
        return {
            "before": round(float(values[0]), 1),
            "quarters": quarters,
            "growth": round(quarters[3] - quarters[1], 1),
            "most": round(float(values.max()), 1),
        }


# Pick-up, and batches


def pick_up(folder: Path, load: Load, progress: Progress) -> dict[str, Any]:
    """Of an idle service, by the table's own times."""
    waits = []
    with Served(folder, OPTIONS) as service:
        client = Client(service.url)
        for number in range(load.pick_ups + 1):
            job = client.portraits(face=photo(), prompt=PROMPT, steps=1, seed=number, progress=False)
            if number:  # the first one warms
                waits.append(job.said["started"] - job.said["created"])
            progress("pick-up", number, load.pick_ups)
    return percentiles(np.array(waits))


def batches(folder: Path, load: Load, progress: Progress) -> dict[str, Any]:
    """Portraits an hour, with batches and one by one; the spread of the ratio within the rounds."""
    sizes = {"batch": load.batch, "one": 1}
    rates: dict[str, list[float]] = {name: [] for name in sizes}
    services = {name: Served(folder / name, [*OPTIONS, "--batch", str(size)]) for name, size in sizes.items()}
    with services["batch"], services["one"]:
        for number in range(load.rounds + 1):
            for name in list(sizes) if number % 2 else list(sizes)[::-1]:
                rate = painted(services[name].url, load, seed=1000 * number)
                rates[name] += [rate] if number else []  # the first round warms
            progress("batch", number, load.rounds)
    gains = np.array(rates["batch"]) / np.array(rates["one"])
    return {
        "depth": load.depth,
        "batch": load.batch,
        "steps": load.steps,
        "portraits_per_hour": {name: rounded(spread(np.array(rate)), 1) for name, rate in rates.items()},
        "gain": rounded(spread(gains), 3),
        "n": load.rounds,
    }


def painted(url: str, load: Load, *, seed: int) -> float:
    """Portraits an hour of `depth` that wait together: behind another one, so that the worker takes none of them alone
    before the rest is there. From the moment that the first of them begins to the end of the last."""
    client, shown = Client(url), photo()
    behind = client.portraits(face=shown, prompt=PROMPT, steps=100, seed=seed, wait=False)
    wanted = [
        client.portraits(face=shown, prompt=PROMPT, steps=load.steps, seed=seed + 1 + number, wait=False)
        for number in range(load.depth)
    ]
    if behind.refresh().state == "done":
        raise UserError("the portrait before the queue was done before the queue was there: the machine is too busy")
    behind.cancel()
    until = time.monotonic() + PAINTING
    while any(job.refresh().state != "done" for job in wanted):
        if bad := [job for job in wanted if job.state in ("failed", "cancelled", "expired")]:
            raise UserError(f"a portrait is {bad[0].state}: {bad[0].said['reason']}")
        if time.monotonic() > until:
            raise UserError(f"{load.depth} portraits were not done within {PAINTING:.0f} seconds")
        wanted.sort(key=lambda job: job.state == "done")
        time.sleep(LOOK)
    began = min(job.said["started"] for job in wanted)
    ended = max(job.said["finished"] for job in wanted)
    return 3600 * load.depth / float(ended - began)


def rounded(values: dict[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}

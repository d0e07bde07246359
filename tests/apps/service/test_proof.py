"""The long proof: the service itself and its workers are killed at random moments with a hundred jobs queued, and
nothing is lost, nothing done twice, every picture can be read. Figures are printed (pytest -s)."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image

pytest.importorskip("fastapi", reason="needs FastAPI (extra `serve`)")

from facefact.apps.service.jobs import Jobs
from facefact.apps.service.table import metadata
from facefact.bench.serve import PROMPT
from facefact.bench.serve_process import Served
from facefact.client import Client

LIMIT = 3600.0  # seconds
WORKER, SERVICE = "worker", "service"


class Proof:
    """Services on one table, jobs in it, and what is killed. victims: of which kinds, in turns drawn at random."""

    def __init__(self, services: list[Served], *, jobs: int, kills: int, victims: list[str], seed: int = 7) -> None:
        self.services, self.kills, self.victims = services, kills, victims
        self.chance = random.Random(seed)
        self.killed: Counter[str] = Counter()
        self.count = jobs
        self.ids: list[str] = []

    def submit(self, photos: list[bytes]) -> None:
        client = Client(self.services[0].url)
        for number in range(self.count):
            face, settings = photos[number % len(photos)], {"steps": 2, "seed": number}
            job = client.portraits(face=face, prompt=PROMPT, wait=False, **settings)
            self.ids.append(job.id)

    def run(self, jobs: Jobs) -> dict[str, Any]:
        began, next_kill = time.monotonic(), 0
        while (done := jobs.counts()["done"]) < self.count:
            assert time.monotonic() - began < LIMIT, jobs.counts()
            assert not jobs.counts()["failed"], [job.reason for job in jobs.list(state="failed")]
            if sum(self.killed.values()) < self.kills and done >= next_kill and jobs.counts()["running"]:
                time.sleep(self.chance.uniform(0.0, 1.0))
                if self.kill():
                    next_kill = done + self.count // (2 * self.kills)
            time.sleep(0.05)
        return {"kills": dict(self.killed), "seconds": round(time.monotonic() - began, 1)}

    def kill(self) -> bool:
        """One of them, now; a service that is killed is started again as systemd would."""
        kind = self.victims[sum(self.killed.values()) % len(self.victims)]
        service = self.chance.choice(self.services)
        if kind == SERVICE:
            service.kill()
            service.start(wait=False)
        else:
            workers = service.workers()
            if not workers:
                return False
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chance.choice(workers), signal.SIGKILL)
        self.killed[kind] += 1
        return True

    def see(self, jobs: Jobs) -> dict[str, Any]:
        """All of them, once, over HTTP as whoever asked for them sees them."""
        client = Client(self.services[0].url)
        attempts: Counter[int] = Counter()
        assert len(set(self.ids)) == self.count
        assert sorted(job.id for job in client.jobs()) == sorted(self.ids), "no job but those that were asked for"
        for id in self.ids:
            job = client.job(id)
            assert job.state == "done"
            (picture,) = job.images()
            with Image.open(io.BytesIO(picture)) as image:
                image.load()
                assert image.size == (128, 128)
            ends = [event for event in jobs.events(id) if event.data.get("state") in ("done", "failed")]
            assert len(ends) == 1, "done once"
            attempts[job.said["attempts"]] += 1
        return {"jobs": self.count, "done": self.count, "attempts": dict(sorted(attempts.items()))}


def prove(services: list[Served], url: str, photos: list[bytes], **how: Any) -> None:
    proof = Proof(services, **how)
    jobs = Jobs.open(url, patience=60.0)
    try:
        with contextlib.ExitStack() as opened:
            for service in services:
                opened.enter_context(service)
            proof.submit(photos)
            ran = proof.run(jobs)
            print("\nproof:", json.dumps(ran | proof.see(jobs)))
            assert sum(proof.killed.values()) == proof.kills
    finally:
        jobs.close()


@pytest.mark.long
def test_ten_kills_of_service_and_workers_on_sqlite(tmp_path: Path, photos: list[bytes]) -> None:
    (tmp_path / "data").mkdir()
    service = Served(tmp_path, ["--offline", "--workers", "2", "--batch", "4"])
    url = f"sqlite:///{tmp_path}/data/jobs.db"
    prove([service], url, photos, jobs=100, kills=10, victims=[WORKER, SERVICE])


def without_tables(server: str) -> str:
    engine = sa.create_engine(server)
    metadata.drop_all(engine)
    engine.dispose()
    return server


@pytest.mark.long
def test_ten_kills_with_two_services_on_one_postgresql(tmp_path: Path, photos: list[bytes], postgres: str) -> None:
    url = without_tables(postgres)
    shared = ["--offline", "--database", url, "--store", str(tmp_path / "store")]
    services = [Served(tmp_path / name, shared) for name in ("one", "two")]
    prove(services, url, photos, jobs=100, kills=10, victims=[WORKER, SERVICE])


@pytest.mark.long
def test_ten_kills_of_ray_actors_and_service(tmp_path: Path, photos: list[bytes]) -> None:
    pytest.importorskip("ray")
    (tmp_path / "data").mkdir()
    service = Served(tmp_path, ["--offline", "--engine", "ray", "--workers", "2"])
    url = f"sqlite:///{tmp_path}/data/jobs.db"
    prove([service], url, photos, jobs=100, kills=10, victims=[WORKER, WORKER, WORKER, WORKER, SERVICE])

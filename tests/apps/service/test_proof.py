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
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image

pytest.importorskip("fastapi", reason="needs FastAPI (extra `serve`)")

from facefact.apps.service.jobs import Jobs
from facefact.apps.service.table import metadata
from facefact.bench.serve import PROMPT
from facefact.bench.serve_process import Served, workers_below
from facefact.client import Client

LIMIT = 3600.0  # seconds
WORKER, SERVICE, NODE = "worker", "service", "node"
Kill = Callable[[], bool]


class Proof:
    """Services on one table, jobs in it, and what is killed. victims: of which kinds, in turns. more: ways to kill
    besides a worker and a service. The moments are drawn at random, one in each of equal parts of the work, so that
    all of them come while jobs wait, however fast the machine is."""

    def __init__(
        self,
        services: list[Served],
        *,
        victims: list[str],
        jobs: int = 100,
        kills: int = 10,
        more: Mapping[str, Kill] | None = None,
        seed: int = 7,
    ) -> None:
        self.services, self.kills, self.victims, self.count = services, kills, victims, jobs
        self.chance = random.Random(seed)
        self.killed: Counter[str] = Counter()
        part = jobs / (kills + 1)
        self.moments = [int(number * part + self.chance.uniform(0.0, part / 2)) for number in range(kills)]
        self.ways: dict[str, Kill] = {WORKER: self.kill_worker, SERVICE: self.kill_service, **(more or {})}
        self.starting: dict[Served, Future[None]] = {}
        self.aside = ThreadPoolExecutor()
        self.ids: list[str] = []

    def submit(self, photos: list[bytes]) -> None:
        client = Client(self.services[0].url)
        for number in range(self.count):
            face, settings = photos[number % len(photos)], {"steps": 2, "seed": number}
            job = client.portraits(face=face, prompt=PROMPT, wait=False, **settings)
            self.ids.append(job.id)

    def run(self, jobs: Jobs) -> dict[str, Any]:
        began = time.monotonic()
        while (counts := jobs.counts())["done"] < self.count:
            assert time.monotonic() - began < LIMIT, counts
            assert not counts["failed"], [job.reason for job in jobs.list(state="failed")]
            killed = self.killed.total()
            if killed < self.kills and counts["done"] >= self.moments[killed] and counts["running"]:
                time.sleep(self.chance.uniform(0.0, 0.3))
                kind = self.victims[killed % len(self.victims)]
                self.killed[kind] += self.ways[kind]()
            time.sleep(0.02)
        seconds = round(time.monotonic() - began, 1)
        self.aside.shutdown()
        for started in self.starting.values():
            started.result()
        return {"kills": dict(self.killed), "seconds": seconds}

    def kill_service(self) -> bool:
        """One that runs; it is started again as systemd would, while the others go on."""
        up = [one for one in self.services if one not in self.starting or self.starting[one].done()]
        if not up:
            return False
        service = self.chance.choice(up)
        service.kill()
        self.starting[service] = self.aside.submit(service.start, wait=False)
        return True

    def kill_worker(self) -> bool:
        """Of any service, or of the cluster that this test started."""
        workers = workers_below(os.getpid())
        if not workers:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.chance.choice(workers), signal.SIGKILL)
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
            assert proof.killed.total() == proof.kills
    finally:
        jobs.close()


@pytest.mark.long
def test_ten_kills_of_service_and_workers_on_sqlite(tmp_path: Path, photos: list[bytes]) -> None:
    (tmp_path / "data").mkdir()
    service = Served(tmp_path, ["--offline", "--workers", "2", "--batch", "4"])
    url = f"sqlite:///{tmp_path}/data/jobs.db"
    prove([service], url, photos, victims=[WORKER, SERVICE])


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
    prove(services, url, photos, victims=[WORKER, SERVICE])


class Cluster:
    """Two Ray nodes with room for one actor each, as far as Ray can see two machines; the second may be killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.second = self.nodes.add_node(num_cpus=1)

    def kill_node(self) -> bool:
        """With all that runs on it; another comes."""
        self.nodes.remove_node(self.second, allow_graceful=False)
        self.second = self.nodes.add_node(num_cpus=1)
        return True


@pytest.mark.long
def test_ten_kills_of_ray_actors_nodes_and_service(tmp_path: Path, photos: list[bytes]) -> None:
    pytest.importorskip("ray")
    (tmp_path / "data").mkdir()
    cluster = Cluster()
    try:
        ray = ["--engine", "ray", "--ray-address", cluster.nodes.address, "--workers", "2"]
        service = Served(tmp_path, ["--offline", *ray])
        victims = [WORKER, NODE, WORKER, WORKER, SERVICE]
        url = f"sqlite:///{tmp_path}/data/jobs.db"
        prove([service], url, photos, victims=victims, more={NODE: cluster.kill_node})
    finally:
        cluster.nodes.shutdown()


@pytest.mark.long
def test_ten_kills_of_the_actors_of_a_ray_of_its_own_and_of_the_service(tmp_path: Path, photos: list[bytes]) -> None:
    pytest.importorskip("ray")
    (tmp_path / "data").mkdir()
    service = Served(tmp_path, ["--offline", "--engine", "ray", "--workers", "2"])
    url = f"sqlite:///{tmp_path}/data/jobs.db"
    prove([service], url, photos, victims=[WORKER, WORKER, WORKER, WORKER, SERVICE])

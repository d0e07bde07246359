"""Workers as Ray actors: the same results, and nothing lost when one is killed."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from facefact.apps.service.jobs import Job, Jobs
from facefact.apps.service.ray_pool import RayPool
from facefact.apps.service.store import FolderStore
from facefact.apps.service.work import Maker
from facefact.apps.service.worker_options import WorkerOptions
from facefact.generate import Studio
from facefact.types import UserError

Ask = Callable[..., Job]
STUDIO = {"device": "cpu", "exact_prompt": True}


class Silent:
    """A `Watch` that nobody asks."""

    def step(self, progress: dict[str, float]) -> None:
        return None

    def preview(self, id: str, number: int, image: Image.Image) -> None:
        return None


def test_an_actor_that_is_killed_loses_nothing(
    jobs: Jobs, store: FolderStore, url: str, ask: Ask, studio: Studio
) -> None:
    """An actor on a Ray of this machine, and the one that comes in its place; each start takes seconds."""
    pytest.importorskip("ray")
    asked = [ask(face=[number % 3], settings={"steps": 2, "seed": number}) for number in range(4)]
    pool = RayPool(WorkerOptions(database=url, store=str(store.folder), studio=STUDIO, batch=1), minimum=1, maximum=1)
    pool.start()
    try:
        before = pool.processes()
        until = time.monotonic() + 900
        while not jobs.counts()["running"]:
            assert time.monotonic() < until
            time.sleep(0.05)
        os.kill(next(iter(before.values())), signal.SIGKILL)
        while jobs.counts()["done"] < len(asked):
            assert time.monotonic() < until, jobs.counts()
            time.sleep(0.1)
        assert pool.alive == 1
        assert pool.processes() != before
    finally:
        pool.stop()
    (again,) = Maker(studio, store, Silent(), batch=1).make([ask(face=[1], settings={"steps": 2, "seed": 1})])
    for one in asked:
        job = jobs.get(one.id)
        assert job is not None
        assert [store.exists(key) for key in job.results] == [True]
    pictures = [Image.open(io.BytesIO(store.get(f"{id}/0.png"))) for id in (asked[1].id, again.job.id)]
    np.testing.assert_allclose(*(np.asarray(one).astype(int) for one in pictures), atol=1)


@pytest.mark.long
def test_a_node_that_is_killed_loses_nothing(jobs: Jobs, store: FolderStore, url: str, ask: Ask) -> None:
    """Two nodes with an actor each; the second dies with all that runs on it, and another machine comes."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    asked = [ask(face=[number % 3], settings={"steps": 3, "seed": number}) for number in range(20)]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    given = WorkerOptions(database=url, store=str(store.folder), studio=STUDIO, batch=1, lease=10.0)
    pool = RayPool(given, minimum=2, maximum=2, address=cluster.address)
    try:
        pool.start()
        until = time.monotonic() + 1500
        while jobs.counts()["running"] < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        while jobs.counts()["done"] < len(asked):
            assert time.monotonic() < until, jobs.counts()
            time.sleep(0.1)
    finally:
        pool.stop()
        cluster.shutdown()
    assert all(store.exists(key) for one in asked for key in jobs.get(one.id).results)  # type: ignore[union-attr]


def test_what_cannot_be_is_said_in_one_line(store: FolderStore, url: str) -> None:
    given = WorkerOptions(database=url, store=str(store.folder))
    with pytest.raises(UserError, match="at least 1"):
        RayPool(given, minimum=3, maximum=2)
    with pytest.raises(UserError, match="cannot share a SQLite file"):
        RayPool(given, address="192.0.2.1:6379")
    pytest.importorskip("ray")
    with pytest.raises(UserError, match="no Ray cluster answers"):
        RayPool(given, address="127.0.0.1:1").start()

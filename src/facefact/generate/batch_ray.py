"""A table of jobs on many machines: Ray Data hands chunks of pictures to actors that keep one open model each.

Portraits come back and are written by the one who asked, so that the photos and the model alone have to lie where every
machine sees them under the same path. The results are those of one machine.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

from facefact.data.local import cores
from facefact.data.ray_engine import explained, import_ray, start
from facefact.generate.batch import Made, Maker, OpenStudio, Picture, SaidOnce
from facefact.types import UserError

log = logging.getLogger("facefact")


class RayEngine:
    """address: of a running cluster ("auto" for the one that this machine belongs to); None starts one here, which ends
    with the work. workers: actors, each with a model of its own; None for one a GPU or, without GPUs, one a machine.
    gpu: whether to use the cluster's GPUs. open_studio: picklable."""

    def __init__(
        self,
        open_studio: OpenStudio,
        *,
        batch: int = 1,
        workers: int | None = None,
        address: str | None = None,
        gpu: bool = True,
    ) -> None:
        self.open_studio, self.batch, self.workers, self.address, self.gpu = open_studio, batch, workers, address, gpu

    def run(self, chunks: Sequence[Sequence[Picture]]) -> Iterator[Made]:
        """As the protocol says. UserError: there is no Ray, no cluster, or no model can be opened there."""
        if not chunks:
            return
        ray = import_ray()
        ours = start(ray, self.address, cores())
        said: set[str] = set()
        try:
            rows = ray.data.from_items(
                [{"chunk": pickle.dumps(one)} for one in chunks], override_num_blocks=len(chunks)
            )
            done = rows.map(
                Worker, fn_constructor_args=(self.open_studio, self.batch), **self._resources(ray, len(chunks))
            )
            for row in done.iter_rows():
                yield from taken(pickle.loads(row["answer"]), said)
        except ray.exceptions.RayError as error:
            raise explained(error) from error
        finally:
            if ours:
                ray.shutdown()

    def _resources(self, ray: Any, chunks: int) -> dict[str, Any]:
        """Of the pool. Without GPUs the actors share the processors, of which Ray Data keeps one."""
        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0)) if self.gpu else 0
        machines = sum(1 for node in ray.nodes() if node["Alive"])
        workers = max(1, min(self.workers or gpus or machines, chunks))
        processors = 1 if gpus else max(1, (int(there.get("CPU", 1)) - 1) // workers)
        share = {"num_gpus": min(1.0, gpus / workers)} if gpus else {}
        return {"num_cpus": processors, "concurrency": (1, workers), **share}


class Worker:
    """An actor. Pickles travel between processes of one program only, never through a file.

    That no model can be opened is an answer too: of an actor that dies in its beginning Ray tells a stack alone."""

    def __init__(self, open_studio: OpenStudio, batch: int) -> None:
        self.maker: Maker | UserError
        try:
            self.maker = Maker(open_studio(), batch=batch)
        except UserError as error:
            self.maker = error

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if isinstance(self.maker, UserError):
            return {"answer": pickle.dumps(self.maker)}
        chunk: list[Picture] = pickle.loads(row["chunk"])
        with SaidOnce() as once:
            made = list(self.maker.make(chunk))
        return {"answer": pickle.dumps((made, list(once.said.values())))}


def taken(answer: UserError | tuple[list[Made], list[str]], said: set[str]) -> list[Made]:
    """A worker's answer; logs the warnings that are new. UserError: its own."""
    if isinstance(answer, UserError):
        raise answer
    made, warnings = answer
    for line in warnings:
        if line not in said:
            said.add(line)
            log.warning("%s", line)
    return made

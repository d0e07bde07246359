"""The engine on many machines: Ray Data streams chunks of entries to actors that keep their models, on this machine or
on a cluster that is there already. What they finish comes back and is written here, so that only the input has to lie
where every machine sees it under the same path.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Sequence
from typing import Any

from facefact.data.engine import Finished, Open, Task
from facefact.data.local import cores, one_thread
from facefact.data.prepare_config import PrepareConfig
from facefact.data.stages import open_tools, run_stages
from facefact.data.work import Work
from facefact.types import UserError

KNOCK = 10  # seconds in which somebody must answer at a cluster's address


class RayEngine:
    """address: of a running cluster ("auto" for the one that this machine belongs to); None starts one here, which ends
    with the work. workers: actors, one core each; None for one a core."""

    def __init__(self, workers: int | None = None, *, address: str | None = None, open_with: Open = open_tools) -> None:
        self.workers, self.address, self.open_with = workers, address, open_with

    def run(self, tasks: Sequence[Task], settings: PrepareConfig, work: Work, finished: Finished) -> None:
        if not tasks:
            return
        ray = import_ray()
        ours = start(ray, self.address, self.workers)
        try:
            workers = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            rows = ray.data.from_items([{"task": pickle.dumps(task)} for task in tasks], override_num_blocks=len(tasks))
            done = rows.map(
                Worker,
                fn_constructor_args=(self.open_with, settings),
                num_cpus=1,
                concurrency=(1, min(workers, len(tasks))),
            )
            sizes = {task.key: len(task.entries) for task in tasks}
            for row in done.iter_rows():
                work.save(row["key"], pickle.loads(row["chunk"]))
                finished(sizes[row["key"]])
        except ray.exceptions.RayError as error:
            raise explained(error) from error
        finally:
            if ours:
                ray.shutdown()


class Worker:
    """An actor. Pickles travel between processes of one program only, never through a file."""

    def __init__(self, open_with: Open, settings: PrepareConfig) -> None:
        one_thread()
        self.tools, self.settings = open_with(settings), settings

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        task: Task = pickle.loads(row["task"])
        return {"key": task.key, "chunk": pickle.dumps(run_stages(task.entries, self.tools, self.settings))}


def import_ray() -> Any:
    """UserError, with how to install it, where it is not."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the user's machine
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # (its workers step back behind everything else on the machine)
    try:
        import ray
        import ray.data
    except ImportError:
        raise UserError("--engine ray needs Ray; install it with: pip install 'facefact[ray]'") from None
    return ray


def start(ray: Any, address: str | None, workers: int | None) -> bool:
    """Whether a cluster was started here (and has to be ended). UserError: none answers at the address."""
    if ray.is_initialized():
        return False
    how: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    if address is None:
        ray.init(num_cpus=(workers or cores()) + 1, include_dashboard=False, **how)  # one for Ray Data's own tasks
    else:
        try:
            knock(address)
            ray.init(address=address, **how)
        except (OSError, ValueError) as error:
            raise UserError(f"no Ray cluster answers at {address}: start one with `ray start --head`") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.verbose_progress = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return True


def knock(address: str) -> None:
    """OSError when nobody listens at host:port: Ray itself would try for minutes. Other addresses are left to it."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK).close()


def explained(error: Exception) -> Exception:
    """What a worker said for the user, without Ray's frames around it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return UserError(f"a worker of Ray died: {' '.join(str(error).split())[:300]}; the same command goes on from there")

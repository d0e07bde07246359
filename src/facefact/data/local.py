"""The engine on one machine: worker processes that each keep their models and write what they finish.

A worker that dies (a decoder's native code on a hostile file, the system's memory) takes nothing with it but the
chunks in flight: these are done again, one process at a time and in halves, until the picture that kills it is alone;
that one is rejected.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from facefact.data.engine import Finished, Open, Task
from facefact.data.prepare_config import PrepareConfig
from facefact.data.records import Entry
from facefact.data.stages import Chunk, Tools, crashed, merged, open_tools, run_stages
from facefact.data.work import Work

AHEAD = 2  # chunks that wait for each worker: none of them idles, and little is in flight

_tools: Tools  # of this worker process
_settings: PrepareConfig


class LocalEngine:
    """workers: processes; 0 for none but this one (no protection against a crash), None for one a core."""

    def __init__(self, workers: int | None = None, *, open_with: Open = open_tools) -> None:
        self.workers = cores() if workers is None else workers
        self.open_with = open_with

    def run(self, tasks: Sequence[Task], settings: PrepareConfig, work: Work, finished: Finished) -> None:
        if not tasks:
            return
        if self.workers == 0:
            tools = self.open_with(settings)
            for task in tasks:
                work.save(task.key, run_stages(task.entries, tools, settings))
                finished(len(task.entries))
            return
        left = list(tasks)
        while left:
            suspects = self._together(left, settings, work, finished)
            for task in suspects:
                work.save(task.key, self._alone(task.entries, settings))
                finished(len(task.entries))
            left = [task for task in left if not work.has(task.key)]

    def _pool(self, settings: PrepareConfig, workers: int) -> ProcessPoolExecutor:
        how = multiprocessing.get_context("spawn")  # forked threads of a parent's libraries hang
        return ProcessPoolExecutor(workers, mp_context=how, initializer=_begin, initargs=(self.open_with, settings))

    def _together(self, tasks: Sequence[Task], settings: PrepareConfig, work: Work, finished: Finished) -> list[Task]:
        """All tasks on all workers; when one dies, the tasks that were in flight and did not get done."""
        flying: dict[Future[None], Task] = {}
        waiting = iter(tasks)
        with self._pool(settings, min(self.workers, len(tasks))) as pool:
            try:
                while True:
                    while len(flying) < AHEAD * self.workers and (task := next(waiting, None)):
                        flying[pool.submit(_finish, task, work.folder.parent)] = task
                    if not flying:
                        return []
                    for done in wait(flying, return_when=FIRST_COMPLETED).done:
                        done.result()
                        finished(len(flying.pop(done).entries))
            except BrokenProcessPool:
                return [task for task in flying.values() if not work.has(task.key)]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _alone(self, entries: Sequence[Entry], settings: PrepareConfig) -> Chunk:
        """In a process of its own; the half of the entries that kills it is halved again."""
        try:
            with self._pool(settings, 1) as pool:
                return pool.submit(_run_stages, entries).result()
        except BrokenProcessPool:
            if len(entries) == 1:
                return crashed(entries[0])
            middle = len(entries) // 2
            return merged(self._alone(half, settings) for half in (entries[:middle], entries[middle:]))


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_thread() -> None:
    """A worker a core: threads beside each other on one core only wait for each other."""
    import cv2

    cv2.setNumThreads(1)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)


def _begin(open_with: Open, settings: PrepareConfig) -> None:
    global _tools, _settings
    one_thread()
    _tools, _settings = open_with(settings), settings


def _run_stages(entries: Sequence[Entry]) -> Chunk:
    return run_stages(entries, _tools, _settings)


def _finish(task: Task, folder: Path) -> None:
    Work(folder).save(task.key, _run_stages(task.entries))

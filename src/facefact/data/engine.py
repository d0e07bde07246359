"""Who does the work: an engine takes chunks of entries and leaves each, looked at, in the `Work` folder.

Every engine calls the same `run_stages` with the same settings; the results do not depend on which one, on how many
workers it has, or on the order in which they finish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from facefact.data.prepare_config import PrepareConfig
from facefact.data.records import Entry
from facefact.data.stages import Tools
from facefact.data.work import Work

Open = Callable[[PrepareConfig], Tools]  # how a worker gets its models; picklable
Finished = Callable[[int], None]  # told how many entries were finished just now


@dataclass(frozen=True)
class Task:
    """One chunk: the key under which it is kept, and its entries."""

    key: str
    entries: Sequence[Entry]


class Engine(Protocol):
    def run(self, tasks: Sequence[Task], settings: PrepareConfig, work: Work, finished: Finished) -> None:
        """All tasks, in any order. Never raises because of a picture."""
        ...

"""Where the time goes: CPU seconds of each part of a worker's work, and how many pictures came to it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Clock:
    """seconds: CPU time (of this process, all threads) of each part, without that of the parts inside it: the sum of
    all is the whole. asked: how many pictures, or faces of them, each part was asked about."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    asked: Counter[str] = field(default_factory=Counter)
    _inside: list[float] = field(default_factory=list, repr=False)  # of each open part, what its own parts took

    @contextmanager
    def part(self, name: str, asked: int = 1) -> Iterator[None]:
        began = time.process_time()
        self._inside.append(0.0)
        try:
            yield
        finally:
            whole = time.process_time() - began
            self.seconds[name] += whole - self._inside.pop()
            self.asked[name] += asked
            if self._inside:
                self._inside[-1] += whole

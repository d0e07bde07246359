"""A command of this program, watched from outside: what it and its worker processes need of time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facefact.types import UserError

PROC = Path("/proc")  # Linux; without it memory is not measured
EVERY = 0.25  # seconds between two looks
POINTS = 60  # of a curve of memory over time
MIB = 1 << 20


@dataclass(frozen=True)
class Watched:
    """wall, cpu: seconds; CPU time is that of the command and of all processes that it started. parent, worker: MiB,
    the greatest resident set of the command's own process and of the largest of the others; None without /proc.
    curve: seconds since the start, MiB of the parent and of the largest other process then. output: stdout."""

    wall: float
    cpu: float
    output: str
    parent: float | None = None
    worker: float | None = None
    curve: list[tuple[float, float, float]] = field(default_factory=list)


def watch(arguments: Sequence[str], *, tell: Callable[[], object] = lambda: None) -> Watched:
    """Run `facefact ARGUMENTS`; its stderr (progress, errors) stays where ours is. tell: called at every look.

    UserError: it did not end well.
    """
    began = time.perf_counter()
    peaks: dict[int, int] = {}
    samples: list[tuple[float, float, float]] = []
    with tempfile.TemporaryFile() as output:
        running = subprocess.Popen([sys.executable, "-m", "facefact", *arguments], stdout=output)
        try:
            while True:
                ended, status, usage = os.wait4(running.pid, os.WNOHANG)
                if ended:
                    break
                samples += look(running.pid, peaks, time.perf_counter() - began)
                tell()
                time.sleep(EVERY)
        except BaseException:
            running.kill()
            running.wait()
            raise
        running.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        if running.returncode:
            line = "its last line says why" if running.returncode == 2 else f"exit code {running.returncode}"
            raise UserError(f"facefact {arguments[0]} did not finish: {line}")
        output.seek(0)
        said = output.read().decode()
    others = [peak for process, peak in peaks.items() if process != running.pid]
    return Watched(
        wall,
        usage.ru_utime + usage.ru_stime,
        said,
        parent=peaks[running.pid] / MIB if running.pid in peaks else None,
        worker=max(others) / MIB if others else None,
        curve=thinned(samples),
    )


def look(process: int, peaks: dict[int, int], seconds: float) -> Iterator[tuple[float, float, float]]:
    """The point of the curve for now; peaks: process -> bytes, as the kernel has counted until now."""
    now: dict[int, int] = {}
    for one in family(process):
        resident = resident_of(one)
        if resident is not None:
            now[one], peaks[one] = resident
    if process in now:
        others = [size for one, size in now.items() if one != process]
        yield seconds, now[process] / MIB, max(others, default=0) / MIB


def family(process: int) -> list[int]:
    """The process and all that descend from it; empty without /proc."""
    parents: dict[int, int] = {}
    for path in PROC.glob("[0-9]*/stat"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has just ended
            continue
        parents[int(path.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = [process] if process in parents else []
    for one in found:  # grows meanwhile
        found += [child for child, parent in parents.items() if parent == one]
    return found


def resident_of(process: int) -> tuple[int, int] | None:
    """Bytes of its resident set: now, and the greatest that its program had (VmHWM begins anew with every exec)."""
    try:
        text = (PROC / str(process) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = {name: value for name, _, value in (line.partition(":") for line in text.splitlines())}
    if "VmHWM" not in found:  # a zombie has no memory
        return None
    return int(found["VmRSS"].split()[0]) * 1024, int(found["VmHWM"].split()[0]) * 1024


def thinned(samples: Sequence[tuple[float, float, float]], points: int = POINTS) -> list[tuple[float, float, float]]:
    """At most so many points; each is the highest of those that it stands for."""
    size = -(-len(samples) // points) or 1
    groups = [samples[i : i + size] for i in range(0, len(samples), size)]
    return [
        (round(own[-1][0], 1), round(max(one[1] for one in own), 1), round(max(one[2] for one in own), 1))
        for own in groups
    ]

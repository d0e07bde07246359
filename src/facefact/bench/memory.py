"""Memory: what this process and its work hold at most, what is free, and a whole command of this program watched from
outside, with its worker processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from facefact.types import UserError

PROC = Path("/proc")  # Linux; without it memory is not measured
EVERY = 0.25  # seconds between two measurements
POINTS = 60  # of a curve of memory over time
MIB = 1 << 20


# This process


def proc_bytes(path: Path) -> dict[str, int]:
    """What a file of /proc counts in kB, in bytes by name; {} where it is not (another system, an ended process)."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    rows = (line.partition(":") for line in lines)
    return {name: 1024 * int(value.split()[0]) for name, _, value in rows if value.endswith(" kB")}


def resident_of(process: int | str = "self") -> tuple[int, int] | None:
    """Bytes of its resident set: now, and the greatest that its program had (VmHWM begins anew with every exec). None
    without /proc, and of a zombie, which has no memory."""
    found = proc_bytes(PROC / str(process) / "status")
    return (found["VmRSS"], found["VmHWM"]) if "VmHWM" in found else None


def peak_resident() -> int:
    """Bytes of this process's greatest resident set. (Linux's ru_maxrss begins with the parent's, VmHWM does not.)"""
    if (resident := resident_of()) is not None:
        return resident[1]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def free_bytes(device: torch.device) -> int | None:
    """Of the device's memory, or the machine's; None: unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return proc_bytes(PROC / "meminfo").get("MemAvailable") if device.type == "cpu" else None


def memory_of(work: Callable[[], Any], device: torch.device) -> dict[str, int | None]:
    """peak_bytes: the most that was held during the work (the process' resident set; on CUDA what torch allocated).
    added_bytes: how much of that was not there before. None where the system does not tell."""
    reset = PROC / "self" / "clear_refs"
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        peak = torch.cuda.max_memory_allocated(device)
    elif device.type == "cpu" and reset.exists():
        reset.write_text("5")  # the greatest resident set so far is forgotten
        before = (resident_of() or (0, 0))[0]
        work()
        peak = peak_resident()
    else:
        return {"peak_bytes": None, "added_bytes": None}
    return {"peak_bytes": peak, "added_bytes": peak - before}


# A command


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


def watch(arguments: Sequence[str]) -> Watched:
    """Run `facefact ARGUMENTS`; its stderr (progress, errors) stays where ours is.

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
                samples += point_of(running.pid, peaks, time.perf_counter() - began)
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
        written = output.read().decode()
    others = [peak for process, peak in peaks.items() if process != running.pid]
    return Watched(
        wall,
        usage.ru_utime + usage.ru_stime,
        written,
        parent=peaks[running.pid] / MIB if running.pid in peaks else None,
        worker=max(others) / MIB if others else None,
        curve=thinned(samples),
    )


def point_of(process: int, peaks: dict[int, int], seconds: float) -> Iterator[tuple[float, float, float]]:
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


def thinned(samples: Sequence[tuple[float, float, float]], points: int = POINTS) -> list[tuple[float, float, float]]:
    """At most so many points; each is the highest of those that it stands for."""
    size = -(-len(samples) // points) or 1
    groups = [samples[i : i + size] for i in range(0, len(samples), size)]
    return [
        (round(own[-1][0], 1), round(max(one[1] for one in own), 1), round(max(one[2] for one in own), 1))
        for own in groups
    ]

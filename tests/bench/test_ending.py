"""What a benchmark started ends with it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

STARTS = """
import os, signal, subprocess
from facefact.bench.ending import end_with_parent
print(subprocess.Popen(["sleep", "60"], preexec_fn=end_with_parent).pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_killed_process_leaves_nothing_running() -> None:
    started = subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    child = Path(f"/proc/{int(started.stdout.readline())}/stat")
    assert started.wait(30) == -9
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            if child.read_text().rpartition(")")[2].split()[0] == "Z":  # dead, and nobody has asked how it ended
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.02)
    raise AssertionError("it still runs")

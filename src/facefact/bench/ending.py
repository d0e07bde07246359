"""A process that a benchmark starts ends with it, however the benchmark ends."""

from __future__ import annotations

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1  # see prctl(2)


def end_with_parent() -> None:
    """For `subprocess.Popen(preexec_fn=...)`: the new process gets SIGTERM when the thread that started it is no more,
    by kill -9 too. Linux has this; elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

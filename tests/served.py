"""The command `facefact serve` itself, in a process of its own, at a free port of this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 300  # to have its model loaded on a busy machine


@contextmanager
def served(folder: Path, *options: str, ready: bool = True) -> Iterator[str]:
    """Its address. ready: wait until the model is loaded. At the end it is told to stop, and has to: exit code 0."""
    log = folder / "serve.log"
    command = [sys.executable, "-m", "facefact", "serve", "--port", "0", "--data", str(folder / "data"), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with open(log, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
    try:
        url = waited_for(process, log, r"(http://\S+) \(model")
        if ready:
            waited_for(process, log, "facefact: (ready)")
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def waited_for(process: subprocess.Popen[bytes], log: Path, line: str) -> str:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if found := re.search(line, log.read_text()):
            return found[1]
        assert process.poll() is None, f"facefact serve ended: {log.read_text()}"
        time.sleep(0.1)
    raise AssertionError(f"facefact serve did not say {line}: {log.read_text()}")


def ready(url: str) -> dict[str, object]:
    with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
        found: dict[str, object] = json.loads(answer.read())
    return found

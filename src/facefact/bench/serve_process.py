"""`facefact serve` as a process that is started, watched, stopped and killed from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from facefact.bench.memory import family
from facefact.types import UserError

STARTING = 300.0  # seconds until the model is loaded, on a busy machine
STOPPING = 90.0
LOOK = 0.05
AT = re.compile(r"(http://\S+) \(model")


class Served:
    """Inside `with Served(folder, options) as service` one runs. folder: its data and log. options: of `facefact
    serve`, besides --port and --data. port: 0 takes a free one, and keeps it. UserError: it does not begin."""

    def __init__(self, folder: Path, options: Sequence[str] = (), *, port: int = 0, data: Path | None = None) -> None:
        self.folder, self.options, self.port = folder, options, port
        self.data = folder / "data" if data is None else data
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Served:
        self.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop() if error is None else self.kill()

    @property
    def log(self) -> Path:
        return self.folder / "serve.log"

    @property
    def pid(self) -> int:
        """Of the process that answers. UserError: none does."""
        if self.process is None or self.process.poll() is not None:
            raise UserError(f"facefact serve does not run any more: {self.last_line()}")
        return self.process.pid

    def start(self, *, wait: bool = True) -> None:
        """wait: until the model is loaded."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "facefact", "serve", "--port", str(self.port), "--data", str(self.data)]
        began = self.log.stat().st_size if self.log.exists() else 0
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(
                [*command, *self.options], stdout=out, stderr=subprocess.STDOUT, env=environment
            )
        self.url = self._said(AT, began)
        self.port = int(self.url.rpartition(":")[2])
        if wait:
            self._said(re.compile("facefact: (ready)"), began)

    def _said(self, line: re.Pattern[str], began: int) -> str:
        until = time.monotonic() + STARTING
        try:
            while time.monotonic() < until:
                if found := line.search(self.log.read_bytes()[began:].decode(errors="replace")):
                    return found[1]
                self.pid  # noqa: B018  (it runs, or a line says why not)
                time.sleep(LOOK)
            raise UserError(f"facefact serve was not ready within {STARTING:.0f} seconds: {self.last_line()}")
        except BaseException:
            self.kill()
            raise

    def last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        """As a person does it. UserError: it does not end, or not well."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            self.kill()
            raise UserError(f"facefact serve did not end within {STOPPING:.0f} seconds") from None
        self.process = None
        if code:
            raise UserError(f"facefact serve ended with {code}: {self.last_line()}")

    def kill(self) -> None:
        """kill -9, of the process that answers alone: what it started has to notice."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def workers(self) -> list[int]:
        """Process ids of its workers. (Without /proc: none.)"""
        return workers_below(self.pid)


def workers_below(process: int) -> list[int]:
    """Process ids of the workers, Ray's actors too, among all that descends from a process. (Without /proc: none.)"""
    return [pid for pid in family(process) if _is_worker(pid)]


def _is_worker(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"facefact.apps.service.worker" in words or words.startswith(b"ray::RayWorker")

"""Work in processes that may die: decoders and face finders fed with pictures from anywhere.

A process that crashes, or takes too long, takes nothing with it but the one picture; another is started in its place.
What it sends back is JSON and bytes, never a pickle: a decoder that was taken over says things, and does nothing here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from facefact.types import UserError

log = logging.getLogger("facefact.service")

LARGEST = 1 << 30  # bytes of one part of an answer
STARTING = 120.0  # seconds for a process to be ready: it may load PyTorch on a busy machine
# (what to do, JSON, parts) -> (JSON, parts)
Work = Callable[[str, dict[str, Any], Sequence[bytes]], tuple[dict[str, Any], Sequence[bytes]]]


class Died(Exception):
    """The process died of what it was given, or took too long. One line."""


class Busy(Exception):
    """All processes had something to do for as long as was waited."""


class Aside:
    """`count` processes, started when they are first needed, each with the work that `open_with(*given)` returns.

    open_with: a function at the top of a module. patience: seconds to wait for a process that has nothing to do. Any
    thread may call.
    """

    def __init__(self, open_with: Callable[..., Work], *given: Any, count: int = 1, patience: float = 30.0) -> None:
        self._patience = patience
        self._all = [_Process(open_with, given) for _ in range(count)]
        self._idle: queue.LifoQueue[_Process] = queue.LifoQueue()
        for one in self._all:
            self._idle.put(one)

    def ask(
        self, what: str, said: dict[str, Any], parts: Sequence[bytes] = (), *, seconds: float
    ) -> tuple[dict[str, Any], list[bytes]]:
        """What the work returns. UserError: what it raised as such. Died, Busy."""
        try:
            process = self._idle.get(timeout=self._patience)
        except queue.Empty:
            raise Busy("all that look at pictures are busy: try again in a moment") from None
        try:
            return process.ask(what, said, parts, seconds)
        finally:
            self._idle.put(process)

    def start(self) -> None:
        """All processes at once, in the background: the first caller does not wait then."""
        for one in self._all:
            threading.Thread(target=one.start, daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether one of them is ready."""
        return any(one.alive for one in self._all)

    def close(self) -> None:
        for one in self._all:
            one.close()


class _Process:
    """One of them, and the pipe to it."""

    def __init__(self, open_with: Callable[..., Work], given: tuple[Any, ...]) -> None:
        self._open_with, self._given = open_with, given
        self._process: Any = None
        self._pipe: Any = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def start(self) -> None:
        with self._lock, contextlib.suppress(Died):
            self._start()

    def _start(self) -> None:
        if self.alive:
            return
        if self._closed:
            raise Died("the service is stopping")
        how = multiprocessing.get_context("spawn")  # forked threads of a parent's libraries hang
        self._pipe, other = how.Pipe()
        self._process = how.Process(target=_serve, args=(other, self._open_with, self._given), daemon=True)
        self._process.start()
        other.close()
        try:
            if not self._pipe.poll(STARTING):
                raise Died("what looks at pictures did not start in time")
            self._pipe.recv_bytes(16)
        except (EOFError, OSError, Died) as error:
            self._kill()
            raise Died("what looks at pictures does not start; the log says why") from error

    def ask(self, what: str, said: dict[str, Any], parts: Sequence[bytes], seconds: float) -> Any:
        with self._lock:
            self._start()
            try:
                self._pipe.send_bytes(json.dumps([what, said, len(parts)]).encode())
                for part in parts:
                    self._pipe.send_bytes(part)
                if not self._pipe.poll(seconds):
                    raise Died(f"took more than {seconds:.0f} s")
                kind, answer, count = json.loads(self._pipe.recv_bytes(LARGEST))
                found = [self._pipe.recv_bytes(LARGEST) for _ in range(count)]
            except Died:
                self._kill()
                raise
            except Exception as error:  # the pipe broke, or what came through it is no answer
                self._kill()
                raise Died("crashed what looks at pictures") from error
        if kind == "user":
            raise UserError(answer["message"])
        if kind != "done":
            raise Died("could not be worked on; the log says why")
        return answer, found

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join(5)
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    def close(self) -> None:
        self._closed = True
        process = self._process
        if process is not None:  # whoever asks it just now hears that it died
            process.kill()
            process.join(5)


def _serve(pipe: Any, open_with: Callable[..., Work], given: tuple[Any, ...]) -> None:
    """The life of a process. It ends when the pipe does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the service's to understand
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    work = open_with(*given)
    pipe.send_bytes(b"ready")
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        for what, said, parts in _asked(pipe):
            kind, answer, found = _done(work, what, said, parts)
            pipe.send_bytes(json.dumps([kind, answer, len(found)]).encode())
            for one in found:
                pipe.send_bytes(one)


def _asked(pipe: Any) -> Iterator[tuple[str, dict[str, Any], list[bytes]]]:
    while True:
        what, said, count = json.loads(pipe.recv_bytes())
        yield what, said, [pipe.recv_bytes() for _ in range(count)]


def _done(
    work: Work, what: str, said: dict[str, Any], parts: Sequence[bytes]
) -> tuple[str, dict[str, Any], Sequence[bytes]]:
    try:
        answer, found = work(what, said, parts)
        return "done", answer, found
    except UserError as error:
        return "user", {"message": str(error)}, []
    except Exception:
        logging.getLogger("facefact.service").exception("a picture could not be worked on")
        return "bug", {}, []


def confined(memory: int) -> None:
    """From now on this process writes no files, leaves no dump of its memory, and has `memory` bytes more at most."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))

"""Work in a process that may die, and does."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs FastAPI (extra `serve`)")

from facefact.apps.service.api.aside import Aside, Busy, Died, confined
from facefact.types import UserError


def open_work(folder: str) -> Any:
    """For a process of its own: does what it is told, bad things too."""

    def work(what: str, said: dict[str, Any], parts: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        if what == "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        if what == "hang":
            time.sleep(60)
        if what == "refuse":
            raise UserError("not this one")
        if what == "fail":
            raise RuntimeError("a secret of the process")
        if what == "write":
            confined(1 << 30)
            Path(folder, "file").write_bytes(b"x")
        if what == "swell":
            confined(200 << 20)
            bytearray(1 << 30)
        return {"pid": os.getpid(), **said}, [part[::-1] for part in parts]

    return work


@pytest.fixture(scope="module")
def aside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aside]:
    made = Aside(open_work, str(tmp_path_factory.mktemp("aside")), patience=1.0)
    yield made
    made.close()


def test_what_is_asked_comes_back(aside: Aside) -> None:
    answer, parts = aside.ask("echo", {"a": 1}, [b"abc", b""], seconds=30)
    assert answer["a"] == 1
    assert parts == [b"cba", b""]
    assert answer["pid"] != os.getpid()


@pytest.mark.parametrize("what", ["die", "hang"])
def test_another_takes_the_place_of_one_that_died(aside: Aside, what: str) -> None:
    before = aside.ask("echo", {}, seconds=30)[0]["pid"]
    with pytest.raises(Died):
        aside.ask(what, {}, seconds=0.5)
    after = aside.ask("echo", {}, seconds=30)[0]["pid"]
    assert after != before
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


def test_errors_are_told_without_what_is_inside(aside: Aside) -> None:
    with pytest.raises(UserError, match="^not this one$"):
        aside.ask("refuse", {}, seconds=30)
    with pytest.raises(Died) as error:
        aside.ask("fail", {}, seconds=30)
    assert "secret" not in str(error.value)


def test_a_confined_process_writes_no_files_and_has_its_memory_bounded(aside: Aside) -> None:
    for what in ("write", "swell"):
        with pytest.raises(Died):
            aside.ask(what, {}, seconds=30)
        with pytest.raises(Died):  # ends the one that was confined
            aside.ask("die", {}, seconds=30)


def test_who_waits_too_long_is_told(aside: Aside) -> None:
    aside.ask("echo", {}, seconds=30)
    hanging = threading.Thread(target=lambda: pytest.raises(Died, aside.ask, "hang", {}, seconds=2.0))
    hanging.start()
    time.sleep(0.2)
    with pytest.raises(Busy):
        aside.ask("echo", {}, seconds=30)
    hanging.join()

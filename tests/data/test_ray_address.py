"""An address at which no cluster answers is told at once."""

from __future__ import annotations

import socket
import time

import pytest

from facefact.data.ray_engine import knock, start
from facefact.types import UserError


@pytest.fixture
def closed() -> str:
    """host:port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


class NoRay:
    def is_initialized(self) -> bool:
        return False


def test_nobody_there_is_one_line_and_soon(closed: str) -> None:
    began = time.monotonic()
    for address in (closed, f"ray://{closed}"):
        with pytest.raises(UserError, match="no Ray cluster answers at"):
            start(NoRay(), address, None)
    assert time.monotonic() - began < 5


def test_somebody_there_and_rays_own_words_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        knock(f"127.0.0.1:{server.getsockname()[1]}")
    knock("auto")
    knock("local")

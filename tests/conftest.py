"""What all tests share: no network, one thread, and a tiny model (see tiny.py)."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from tiny import tiny_adapter, tiny_pipeline

gc.disable()  # while the libraries are loaded: see `pytest_collection_finish`


def pytest_collection_finish(session: pytest.Session) -> None:
    """One thread; what the libraries made stays for good: to look for garbage among it took a tenth of the time."""
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="the long proofs too (many minutes)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The slow ones first: they fill one worker while the others do the rest. Then those that ask the whole service, so
    that one worker starts it for all of them. Long ones only when asked for."""
    if not config.getoption("--long"):
        left = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, "served_at" not in item.fixturenames))


@pytest.fixture
def pipe() -> Any:
    return tiny_pipeline()


@pytest.fixture
def adapter(pipe: Any) -> Any:
    """Attached to the fixture `pipe`."""
    return tiny_adapter(pipe).attach(pipe)


@pytest.fixture(scope="session")
def served_at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `facefact serve` with the embedded model, for all tests that ask a whole service."""
    for package in ("fastapi", "uvicorn", "sqlalchemy"):
        pytest.importorskip(package, reason="needs the extra `serve`")
    from served import served

    with served(tmp_path_factory.mktemp("served"), "--batch", "2", "--offline") as url:
        yield url

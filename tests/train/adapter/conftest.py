"""What tests of the adapter's losses learn on: small frozen parts, and a cache of rendered people."""

from __future__ import annotations

import pytest
from parts import filled, frozen

from facefact.train.material.cache import Cache
from facefact.train.material.frozen import Frozen


@pytest.fixture(scope="module")
def parts() -> Frozen:
    return frozen()


@pytest.fixture(scope="module")
def cache(parts: Frozen, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return filled(tmp_path_factory.mktemp("cache"), parts)

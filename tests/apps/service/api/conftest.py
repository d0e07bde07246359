"""The real app over a real table and real decoders; no worker: what a worker would do is written into the table."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs FastAPI (extra `serve`)")
pytest.importorskip("httpx", reason="needs httpx")

from fastapi.testclient import TestClient

from facefact.apps.service.api.app import make_app
from facefact.apps.service.api.aside import Aside
from facefact.apps.service.api.photos_tools import Opening
from facefact.apps.service.api.photos_work import open_photos
from facefact.apps.service.api.pictures import open_decoder
from facefact.apps.service.api.service import Limits, Model, Service
from facefact.apps.service.jobs import Jobs
from facefact.apps.service.store import FolderStore
from facefact.world import look, person, render

LIMITS = Limits(picture_bytes=3_000_000, picture_pixels=4_000_000, body_bytes=8_000_000, side=256, queue=50)


@pytest.fixture(scope="session")
def decoders() -> Iterator[Aside]:
    bounds = {name: getattr(LIMITS, name) for name in ("picture_bytes", "picture_pixels", "picture_side")}
    made = Aside(open_decoder, bounds, count=1)
    yield made
    made.close()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aside]:
    scratch = tmp_path_factory.mktemp("photos") / "scratch"
    made = Aside(open_photos, Opening("demo", None, None, True, str(scratch)))
    yield made
    made.close()


@pytest.fixture
def make_service(tmp_path: Path, decoders: Aside, photos: Aside) -> Iterator[Callable[..., Service]]:
    opened: list[Jobs] = []

    def make(**more: Any) -> Service:
        opened.append(Jobs.open(f"sqlite:///{tmp_path}/jobs.db"))
        store = FolderStore(tmp_path / "files")
        known = {"model": Model(name="demo"), "limits": LIMITS, "decoders": decoders, "photos": photos}
        return Service(**({"jobs": opened[-1], "store": store} | known | more))

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service()


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(make_app(service), raise_server_exceptions=False) as made:
        yield made


def encoded(pixels: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format=form, **options)
    return out.getvalue()


@pytest.fixture(scope="session")
def photo() -> bytes:
    """Somebody of the embedded world, as a JPEG."""
    return encoded(render(person(1), look(1), size=192).image, "JPEG", quality=90)

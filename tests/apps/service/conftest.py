"""What the service's tests share: databases (SQLite in a file, a PostgreSQL server), a store, the embedded model."""

from __future__ import annotations

import contextlib
import io
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facefact.apps.service.jobs import Job, Jobs, NewJob, new_id
from facefact.apps.service.store import FolderStore

PROMPT = "portrait of a person, with long red hair, smiling, facing forward, in a blue hoodie, at the beach, daylight"


def postgres_programs() -> Path | None:
    """Where `initdb` and `pg_ctl` are: on the path, or in Debian's place for the newest version."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    there = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return there[-1].parent if there else None


def another_user() -> str | None:
    """PostgreSQL refuses to run as root: then as its own user."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return None


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of an empty server on a loopback port, in a temporary folder; it ends with the tests."""
    pytest.importorskip("psycopg", reason="needs psycopg (extra `postgres`)")
    programs, user = postgres_programs(), another_user()
    if programs is None or user is None:
        pytest.skip("no PostgreSQL server is installed here, or no user to run it as")
    folder, port = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp")), free_port()
    shutil.chown(folder, user)
    how = {"user": user, "extra_groups": [], "cwd": "/"} if os.getuid() == 0 else {"cwd": "/"}
    quiet = {"check": True, "stdout": subprocess.DEVNULL, **how}
    data = folder / "data"
    subprocess.run([programs / "initdb", "-D", data, "-A", "trust", "-U", "facefact", "--no-sync"], **quiet)
    settings = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c shared_buffers=16MB"
    server = [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    try:
        subprocess.run([*server, "-o", settings, "start"], **quiet)
        yield f"postgresql+psycopg://facefact@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*server, "-m", "immediate", "stop"], stdout=subprocess.DEVNULL, **how)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: SQLite, or what a test's parameter says (`both`)."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    return empty(request.getfixturevalue("postgres"))


def empty(server: str) -> str:
    """The same server without tables."""
    import sqlalchemy as sa

    from facefact.apps.service.table import metadata

    engine = sa.create_engine(server)
    metadata.drop_all(engine)
    engine.dispose()
    return server


@pytest.fixture
def open_jobs(url: str) -> Iterator[Callable[[], Jobs]]:
    """Opens the database once more: as another process would."""
    opened: list[Jobs] = []

    def another() -> Jobs:
        opened.append(Jobs.open(url, patience=5.0))
        return opened[-1]

    yield another
    for one in opened:
        one.close()


@pytest.fixture
def jobs(open_jobs: Callable[[], Jobs]) -> Jobs:
    return open_jobs()


@pytest.fixture(scope="session")
def studio() -> Any:
    """The embedded model, opened once."""
    from facefact.apps.progress import silence_loading
    from facefact.generate import Studio

    silence_loading()
    opened = Studio.open(device="cpu", exact_prompt=True)
    opened.pipe.set_progress_bar_config(disable=True)
    return opened


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture(scope="session")
def photos() -> list[bytes]:
    """Rendered people that the model has never seen, as PNG files."""
    from PIL import Image

    from facefact.world import look, person, render

    found = []
    for number in range(3):
        file = io.BytesIO()
        Image.fromarray(render(person(10**6 + number), look(number), size=128).image).save(file, "PNG")
        found.append(file.getvalue())
    return found


@pytest.fixture
def ask(jobs: Jobs, store: FolderStore, photos: list[bytes]) -> Callable[..., Job]:
    """Submits a job with photos in the store: ask(face=[0], seed=1, ...), the numbers being those of `photos`."""

    def submit(*, kind: str = "portrait", count: int = 1, settings: Any = None, **roles: list[int | bytes]) -> Job:
        id, inputs = new_id(), {}
        for role, shown in (roles or {"face": [0]}).items():
            role = role.replace("put_", "put.")
            inputs[role] = [f"{id}/input/{role}-{i}.png" for i in range(len(shown))]
            for key, one in zip(inputs[role], shown, strict=True):
                store.put(key, photos[one] if isinstance(one, int) else one)
        wanted = {"prompt": PROMPT, "steps": 3} | (settings or {})
        return jobs.submit(NewJob(id=id, kind=kind, settings=wanted, inputs=inputs, count=count), limit=10_000)[0]

    return submit

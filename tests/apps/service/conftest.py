"""Databases for the service's tests: SQLite in a file, and a PostgreSQL server of their own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facefact.apps.service.jobs import Jobs


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


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    server = request.getfixturevalue("postgres")
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

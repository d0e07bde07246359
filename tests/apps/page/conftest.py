"""The whole service with its page and one worker on a loopback port, and a real browser before it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

for package in ("gradio", "fastapi", "sqlalchemy"):
    pytest.importorskip(package, reason=f"needs {package} (extra `app`)")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def start(data: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """`facefact ui` on a free port; the process and its address. Its network is shut but for this machine's own: see
    `shut`."""
    command = [sys.executable, "-m", "facefact", "ui", "--no-browser", "--port", "0", "--data", str(data), *options]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return process, found[0]
    raise AssertionError("the service said no address")


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def served(data: Path) -> Iterator[str]:
    process, url = start(data)
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=60) as answer:
            assert answer.status == 200
        yield url
    finally:
        stop(process)


@pytest.fixture(scope="module")  # not longer: Playwright keeps an event loop running, which other tests trip over
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()

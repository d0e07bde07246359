"""The whole service with its page and one worker on a loopback port, and a real browser before it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from in_browser import page_of, plainly

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


def film(path: Path, image: Image.Image) -> None:
    """One picture as a raw film (YUV4MPEG2), which Chromium shows again and again."""
    y, cb, cr = image.convert("YCbCr").split()
    half = (image.width // 2, image.height // 2)
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{image.width} H{image.height} F5:1 Ip A1:1 C420jpeg\nFRAME\n".encode())
        for plane in (y, cb.resize(half), cr.resize(half)):
            file.write(np.asarray(plane).tobytes())


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")  # a start takes ten seconds of a processor
def served(data: Path) -> Iterator[str]:
    process, url = start(data)
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=60) as answer:
            assert answer.status == 200
        yield url
    finally:
        stop(process)


@pytest.fixture(scope="module")  # not longer: Playwright keeps an event loop running, which other tests trip over
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Its camera sees a person."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with playwright.sync_playwright() as running:
        seen = tmp_path_factory.mktemp("camera") / "person.y4m"
        film(seen, plainly(41))
        camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
        browser = running.chromium.launch(
            executable_path=found,
            args=["--no-sandbox", "--disable-gpu", *camera, f"--use-file-for-fake-video-capture={seen}"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def opened(chromium: Any, served: str) -> Iterator[Callable[..., Any]]:
    """A new page of one browser context, so that what the browser remembers is there for all of them. Every request is
    noted."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1400})
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))

    def open_page() -> Any:
        page = page_of(context)
        page.goto(served)
        page.get_by_role("button", name="Make portraits").wait_for()
        return page

    open_page.asked = asked  # type: ignore[attr-defined]
    yield open_page
    context.close()

"""`facefact bench page`: what a person at the studio page waits for, in a real browser.

    cold      from the start of `facefact ui`, nothing of it in memory but in the disk's cache: until the page can be
              used, and until the first portrait (one click on a first visit) is seen; the browser runs already. And
              the processor seconds that the program took until then: those do not grow with what else runs
    answers   clicks while a portrait forms: on an example of the words, which the service answers, until they are
              seen; on "Another seed" and on a tab, which the browser does alone, until number or content is seen

The browser is on the same machine and counts against it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facefact.bench.ending import end_with_parent
from facefact.bench.memory import PROC, family
from facefact.bench.timing import machine
from facefact.files import replacing
from facefact.types import UserError

PARTS = ("cold", "answers")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WAIT = 300_000  # milliseconds; on a busy machine all takes long
AT = re.compile(r"http://127\.0\.0\.1:\d+")
PAUSE = 150  # milliseconds between two clicks
MANY_STEPS = 60  # of the portraits that form meanwhile

Progress = Callable[[str, int, int], None]


def bench_page(
    *,
    parts: Sequence[str] = PARTS,
    starts: int = 3,
    clicks: int = 40,
    picture: Path | None = None,
    progress: Progress = lambda *told: None,
) -> dict[str, Any]:
    """The figures; see the top of this file. starts: of the program. clicks: of each kind. picture: where a picture of
    the page goes, taken after the last start's first portraits. UserError: no browser is here, or the program does not
    start."""
    found: dict[str, Any] = {"machine": machine(), "starts": starts, "clicks": clicks}
    with chromium() as browser, tempfile.TemporaryDirectory(prefix="facefact-bench-") as folder:
        if "cold" in parts:
            seconds = []
            for number in range(starts):
                seconds.append(cold(browser, Path(folder) / str(number), picture))
                progress("cold", number + 1, starts)
            found["cold"] = {name: [round(one[name], 2) for one in seconds] for name in seconds[0]}
        if "answers" in parts:
            found["answers"] = answers(browser, Path(folder) / "answers", clicks, progress)
    found["load after"] = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return found


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """UserError: Playwright or a Chromium is not here."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError("a browser is driven by Playwright: pip install playwright") from None
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        raise UserError("no Chromium is here: apt-get install chromium, or whatever your system calls it")
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def studio(data: Path) -> Iterator[tuple[str, int]]:
    """`facefact ui` on a free port: its address, as soon as it is said, and its process's number."""
    command = [sys.executable, "-m", "facefact", "ui", "--offline", "--no-browser", "--port", "0", "--data", str(data)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=end_with_parent
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := AT.search(line):
                yield found[0], process.pid
                return
        raise UserError("`facefact ui` does not start: run it to see why")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def opened(browser: Any, url: str) -> Any:
    """The page, of a new visitor, when its button is there; the address may not answer yet."""
    page = browser.new_context(viewport={"width": 1280, "height": 1400}).new_page()
    page.set_default_timeout(WAIT)
    until = time.monotonic() + WAIT / 1000
    while True:
        try:
            page.goto(url)
            break
        except Exception:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
    page.locator("#make").wait_for()
    return page


def cold(browser: Any, data: Path, picture: Path | None = None) -> dict[str, float]:
    """Seconds from the start of the program. picture: where one of the page goes."""
    began = time.monotonic()
    with studio(data) as (url, process):
        said = time.monotonic() - began
        page = opened(browser, url)
        usable = time.monotonic() - began
        page.locator("#make").click()
        page.locator("#made img").first.wait_for()
        first = time.monotonic() - began
        busy = processor_seconds(process)
        page.locator("#scale .scale").wait_for()
        ranked = time.monotonic() - began
        if picture is not None:
            photograph(page, picture)
        page.context.close()
    return {"address": said, "page": usable, "portrait": first, "likeness": ranked, "processor": busy}


def processor_seconds(process: int) -> float:
    """What it and all that it started have had of processors (without /proc: 0)."""
    ticks = 0
    for one in family(process):
        with contextlib.suppress(OSError):
            after_name = (PROC / str(one) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
            ticks += sum(map(int, after_name.split()[11:13]))  # in user mode, in the system: see proc(5)
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else 0.0


def photograph(page: Any, path: Path) -> None:
    """A PNG of the page, as a visitor has it who has read the notice. UserError: the disk does not take it."""
    page.locator("#understood").click()
    page.get_by_text("a good photo").wait_for()
    page.wait_for_timeout(1000)  # what moves has come to rest
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(page.screenshot(full_page=True))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def answers(browser: Any, data: Path, clicks: int, progress: Progress) -> dict[str, Any]:
    """Milliseconds."""
    with studio(data) as (url, _):
        page = opened(browser, url)
        page.locator("#make").click()
        page.locator("#scale .scale").wait_for()  # all is in memory
        page.locator("button", has_text="More").first.click()
        page.locator("#number input[type=number]").fill("8")
        page.locator("#steps input[type=number]").fill(str(MANY_STEPS))
        taken: dict[str, list[float]] = {name: [] for name in CLICKS}
        for number in range(clicks):
            if not page.locator("#cancel").is_enabled():
                page.locator("#make").click()
                page.wait_for_function("() => !document.querySelector('#cancel').disabled")
            for name, click in CLICKS.items():
                taken[name].append(page.evaluate(click))
                page.wait_for_timeout(PAUSE)
            progress("answers", number + 1, clicks)
        page.locator("#cancel").click()
        page.context.close()
    return {name: percentiles(one) for name, one in taken.items()}


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    p50, p95 = np.percentile(milliseconds, (50, 95)).round(1).tolist()
    return {"n": len(milliseconds), "p50_ms": p50, "p95_ms": p95, "max_ms": round(max(milliseconds), 1)}


# A click until what it changes is there, looked at in every frame.
EXAMPLE = """async () => {
  const field = document.querySelector("#prompt textarea"), before = field.value, began = performance.now();
  [...document.querySelectorAll("#examples button")].find(one => !before.startsWith(one.textContent.trim().slice(0, 40))
    && one.textContent.trim().length > 20).click();
  while (field.value === before) await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""
SEED = """async () => {
  const field = document.querySelector("#seed input"), before = field.value, began = performance.now();
  document.querySelector("#dice").click();
  while (field.value === before) await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""
TABS = """async () => {
  const tabs = [...document.querySelectorAll("button[role=tab]")];
  const [home, other] = ["Portrait", "Queue"].map(name => tabs.find(one => one.textContent.trim() === name));
  const shown = id => document.querySelector(id)?.offsetParent != null;
  const began = performance.now();
  other.click();
  while (!shown("#jobs")) await new Promise(requestAnimationFrame);
  const taken = performance.now() - began;
  home.click();
  while (!shown("#make")) await new Promise(requestAnimationFrame);
  return taken;
}"""
CLICKS = {"served": EXAMPLE, "seed": SEED, "browser alone": TABS}

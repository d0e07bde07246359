"""Hands for pages in a browser that wait as long as a busy machine needs, and faces to show them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from PIL import Image

from facefact.world import look, person, render

WAIT = 180_000  # milliseconds; a busy machine is slow, a free one needs some seconds
SLOWER = float(os.environ.get("FACEFACT_SLOWER", "1"))  # as many times slower the browser's own work is
# What unfolds is laid out, and set to its first values, in the frames after it; then its colours fade in.
AT_REST = """async () => {
  for (let i = 0; i < 10; i++) await new Promise(requestAnimationFrame);
  const ends = document.getAnimations().filter(
    one => one.playState === "running" && one.effect.getComputedTiming().iterations !== Infinity);
  await Promise.race([Promise.allSettled(ends.map(one => one.finished)), new Promise(end => setTimeout(end, 5000))]);
}"""


def page_of(context: Any) -> Any:
    """A page that waits for a busy machine."""
    page = context.new_page()
    page.set_default_timeout(WAIT)
    context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    return page


def unfold(page: Any, name: str) -> None:
    """Opens what is folded away. Whatever were typed in the frames after that Gradio would overwrite."""
    page.get_by_role("button", name=name).click()
    page.evaluate(AT_REST)


def put(page: Any, place: str, file: Path) -> None:
    """A file into a place for files, until it is listed there. (The list has stem and ending apart: what says the whole
    name is the notice while it is uploaded, which may be gone before anybody looks.) Gradio makes the place's input
    anew once, right after it is shown, and only then has it `accept`: a file given to the first one goes nowhere, and
    nobody is told. (Nobody's hand is so fast.)"""
    page.evaluate(AT_REST)
    with page.expect_response(lambda answer: "/upload?" in answer.url, timeout=WAIT) as uploaded:
        page.locator(f"{place} input[type=file][accept]").set_input_files(file)
    assert uploaded.value.ok, uploaded.value.text()
    page.locator(f"{place} .filename").get_by_text(file.stem, exact=True).wait_for()


def shown_in(page: Any, place: str, file: Path) -> None:
    """A file into a place for one picture, until it is seen there."""
    page.evaluate(AT_REST)
    page.locator(f"{place} input[type=file]").first.set_input_files(file)
    page.locator(f"{place} img").first.wait_for()


def saved(page: Any, folder: Path, place: str = "#files") -> list[Path]:
    """The files of the last portraits."""
    found = []
    for number, link in enumerate(page.locator(f"{place} a").all()):
        with page.expect_download() as download:
            link.click()
        found.append(folder / f"saved-{number}.png")
        download.value.save_as(found[-1])
    return found


def plainly(seed: int, *, looks: int = 0, size: int = 256) -> Image.Image:
    """Somebody who does not exist, plainly seen."""
    shown = look(seed + looks, glasses="none", hat="none", pose="front")
    return Image.fromarray(render(person(seed), shown).image).resize((size, size))

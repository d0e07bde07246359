"""Portrait in a real browser: whose photos there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from in_browser import AT_REST, plainly, put, unfold


def names(page: Any) -> list[str]:
    return ["".join(one.split()) for one in page.locator("#photos .filename").all_inner_texts()]


def test_the_example_makes_room_for_ones_own_photos(opened: Callable[..., Any], tmp_path: Path) -> None:
    plainly(21).save(tmp_path / "me.png")
    page = opened()
    assert names(page) == ["example.png"]
    put(page, "#photos", tmp_path / "me.png")
    page.locator("#photos .filename").get_by_text("example").wait_for(state="detached")
    assert names(page) == ["me.png"]
    plainly(21, looks=1).save(tmp_path / "again.png")
    put(page, "#photos", tmp_path / "again.png")
    page.locator("#said").get_by_text("2: a good photo").wait_for()
    assert names(page) == ["me.png", "again.png"]
    page.close()


def test_the_camera_takes_the_examples_place(opened: Callable[..., Any]) -> None:
    page = opened()
    unfold(page, "Use the camera")
    page.get_by_role("button", name="Click to Access Webcam").click()
    page.wait_for_function("() => document.querySelector('video')?.readyState === 4")  # a click before takes no picture
    page.get_by_role("button", name="capture photo").click()
    page.locator("#photos .filename").get_by_text("example").wait_for(state="detached")
    assert len(names(page)) == 1
    page.evaluate(AT_REST)
    page.locator("#said").get_by_text("a good photo: one face").wait_for()
    page.close()

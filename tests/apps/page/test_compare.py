"""Compare in a real browser: likeness by style by seed, and the base model beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from in_browser import AT_REST


def test_each_style_and_likeness_is_a_row(opened: Callable[..., Any]) -> None:
    page = opened()
    page.get_by_role("tab", name="Compare", exact=True).click()
    page.evaluate(AT_REST)
    page.get_by_label("1", exact=True).uncheck()
    page.get_by_label("number input for Seeds of each").fill("1")
    page.locator("#compared-styles input").click()
    page.get_by_role("option", name="Beach holiday").click()
    page.keyboard.press("Escape")
    page.locator("#compare").click()
    page.wait_for_function("() => document.querySelectorAll('#compared .grid-container img').length === 4")
    captions = page.locator("#compared .caption-label").all_inner_texts()
    assert [one.strip() for one in captions] == [
        f"{style}likeness {scale}, seed 0" for style in ("", "beach-holiday, ") for scale in ("0", "0.7")
    ]
    assert page.locator("#base-beside img").count() == 2
    page.close()

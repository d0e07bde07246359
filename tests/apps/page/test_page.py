"""The page in a real browser: from a first visit to a picture with its recipe, through reload, people and a phone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facefact.generate.recipe import read_recipe
from facefact.world import look, person, render

WAIT = 180_000  # milliseconds; a busy machine is slow, a free one needs some seconds


@pytest.fixture(scope="module")
def opened(chromium: Any, served: str) -> Iterator[Callable[..., Any]]:
    """A new page of one browser context, so that what the browser remembers is there for all of them. Every request is
    noted."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1400})
    context.set_default_timeout(WAIT)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))

    def open_page() -> Any:
        page = context.new_page()
        page.goto(served)
        page.get_by_role("button", name="Make portraits").wait_for()
        return page

    open_page.asked = asked  # type: ignore[attr-defined]
    yield open_page
    context.close()


@pytest.fixture(scope="module")
def portrait(opened: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first visit, and one click: the picture that was downloaded."""
    page = opened()
    page.locator("#understood").click()
    page.locator("#make").click()
    page.locator("#made img").first.wait_for()
    with page.expect_download() as download:
        page.locator("#files a").first.click()
    path = tmp_path_factory.mktemp("downloads") / "portrait.png"
    download.value.save_as(path)
    page.close()
    return path


def test_a_first_visit_makes_a_portrait_in_one_click(portrait: Path) -> None:
    with Image.open(portrait) as image:
        assert image.format == "PNG"
    recipe = read_recipe(portrait)
    assert recipe["prompt"].startswith("portrait of a person, smiling")
    assert recipe["scale"] == 0.7


def test_nothing_is_asked_of_anybody_else(opened: Callable[..., Any], served: str, portrait: Path) -> None:
    addresses = {re.match(r"\w+:(//[^/]*)?", url)[0] for url in opened.asked}  # type: ignore[index,attr-defined]
    assert addresses <= {served, "data:", "blob:", served.replace("http", "blob:http")}


def test_found_face_and_likeness_are_said(opened: Callable[..., Any]) -> None:
    page = opened()
    page.get_by_text("a good photo: one face").wait_for()
    assert page.locator("#found img").count() == 1
    page.close()


def test_the_browser_remembers_jobs_and_consent_over_a_reload(opened: Callable[..., Any], portrait: Path) -> None:
    page = opened()
    page.get_by_role("tab", name="Queue").click()
    page.locator("#jobs").get_by_text("is done").first.wait_for()
    assert not page.locator("#understood").is_visible()
    page.close()


def test_a_recipe_fills_the_form_again(opened: Callable[..., Any], portrait: Path) -> None:
    page = opened()
    page.locator("#prompt textarea").fill("something else")
    page.locator("#again input[type=file]").set_input_files(portrait)
    prompt = read_recipe(portrait)["prompt"]
    page.wait_for_function("text => document.querySelector('#prompt textarea').value === text", arg=prompt)
    page.close()


def test_a_job_is_cancelled(opened: Callable[..., Any]) -> None:
    page = opened()
    page.get_by_role("button", name="More").click()
    page.get_by_label("number input for Steps").fill("60")
    page.locator("#number").get_by_label("number input").fill("8")
    page.locator("#make").click()
    cancel = page.locator("#cancel")
    page.wait_for_function("() => !document.querySelector('#cancel').disabled")
    cancel.click()
    page.locator("#state").get_by_text("was cancelled").wait_for()
    page.close()


def test_somebody_is_saved_and_used_again(opened: Callable[..., Any], tmp_path: Path) -> None:
    photo = tmp_path / "somebody.png"
    shown = look(77, glasses="none", hat="none", pose="front")
    Image.fromarray(render(person(77), shown).image).resize((256, 256)).save(photo)
    page = opened()
    page.get_by_role("tab", name="People").click()
    page.locator("#card-photos input[type=file]").set_input_files(photo)
    page.get_by_label("Name").fill("Ada")
    page.locator("#card-make").click()
    page.locator("#people").get_by_text("Ada").wait_for()
    page.close()

    page = opened()  # after a reload
    page.get_by_role("tab", name="People").click()
    page.locator("#people").get_by_text("Ada").wait_for()
    page.close()


def test_a_phone_in_the_dark_has_no_sideways_scroll(chromium: Any, served: str) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    context.set_default_timeout(WAIT)
    page = context.new_page()
    page.goto(served)
    page.locator("#make").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    luminance = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    assert sum(page.evaluate(luminance)) < 3 * 80
    context.close()


def test_it_is_usable_by_keyboard_alone(opened: Callable[..., Any]) -> None:
    page = opened()
    page.locator("#prompt textarea").focus()
    reached = False
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#make') !== null"):
            reached = True
            break
    assert reached, "Tab leads from the words to the button"
    page.close()

"""The page in a real browser: from a first visit to a picture with its recipe, through reload, people and a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from facefact.apps.page.form import OF_DEMO
from facefact.generate.recipe import read_recipe
from in_browser import AT_REST, page_of, plainly, put, saved, unfold

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
NAMED = ("button", "textbox", "slider", "spinbutton", "combobox", "checkbox", "radio", "tab", "link", "image")


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
    assert (recipe["scale"], recipe["face_guidance"]) == (OF_DEMO.scale, False)


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
    put(page, "#again", portrait)
    prompt = read_recipe(portrait)["prompt"]
    page.wait_for_function("text => document.querySelector('#prompt textarea').value === text", arg=prompt)
    page.close()


def test_a_job_is_cancelled(opened: Callable[..., Any]) -> None:
    page = opened()
    ask_for_much(page)
    page.locator("#make").click()
    cancel = page.locator("#cancel")
    page.wait_for_function("() => !document.querySelector('#cancel').disabled")
    cancel.click()
    page.locator("#state").get_by_text("was cancelled").wait_for()
    page.close()


def test_somebody_is_saved_looked_at_and_gets_more_photos(opened: Callable[..., Any], tmp_path: Path) -> None:
    photos = [tmp_path / "one.png", tmp_path / "two.png"]
    for number, photo in enumerate(photos):
        plainly(77, looks=number).save(photo)
    page = opened()
    page.get_by_role("tab", name="People").click()
    put(page, "#card-photos", photos[0])
    page.get_by_label("Name").fill("Ada")
    page.get_by_label("What they agreed to").fill("the garden party")
    page.locator("#card-make").click()
    page.locator("#people").get_by_text("Ada").wait_for()
    page.close()

    page = opened()  # after a reload
    page.get_by_role("tab", name="People").click()
    page.locator("#people").get_by_text("Ada").wait_for()
    unfold(page, "More photos of somebody")
    page.locator("#several input").click()
    page.get_by_role("option", name="Ada").click()
    page.keyboard.press("Escape")
    put(page, "#more-photos", photos[1])
    page.locator("#card-merge").click()
    page.locator("#people").get_by_text("Ada 2").wait_for()
    page.locator("#card-look").click()
    seen = page.locator("#card-seen .card")
    seen.wait_for()
    assert seen.inner_text().count("facing") == 2
    assert "agreed to: the garden party" in seen.inner_text()
    page.locator("#card-delete").click()
    page.locator("#people").get_by_text("Ada 2").wait_for(state="detached")
    page.close()


def test_again_with_other_words_keeps_the_rest_and_waits_in_the_words(
    opened: Callable[..., Any], portrait: Path
) -> None:
    page = opened()
    page.locator("#seed input").fill("7")
    unfold(page, "More")
    page.get_by_label("number input for Steps").fill("4")
    page.locator("#make").click()
    page.locator("#scale .scale").wait_for()
    assert page.locator("#scale li").count() == 2
    assert "two real pictures of one person: 1" in page.locator("#scale").inner_text()
    recipes = [read_recipe(path) for path in saved(page, portrait.parent)]
    page.locator("#seed input").fill("99")
    page.locator("#made img").nth(1).click()
    page.locator("#other-words").click()
    page.wait_for_function("() => document.activeElement === document.querySelector('#prompt textarea')")
    page.keyboard.type("somebody else's words")
    assert page.locator("#prompt textarea").input_value() == "somebody else's words"
    assert page.locator("#number input[type=number]").input_value() == "1"
    assert int(page.locator("#seed input").input_value()) in {recipe["seed"] for recipe in recipes} == {7, 8}
    assert page.locator("#steps input[type=number]").input_value() == "4"
    page.close()


def ask_for_much(page: Any) -> None:
    """Portraits that take long enough to be cancelled, however slow the browser is."""
    unfold(page, "More")
    page.get_by_label("number input for Steps").fill("60")
    page.locator("#number").get_by_label("number input").fill("8")


def test_a_lora_of_another_model_comes_back_with_the_remedy(opened: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="needs peft (extra `lora`)")
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v.lora_"
    save_file(
        {f"{layer}A.weight": torch.zeros(4, 768), f"{layer}B.weight": torch.zeros(320, 4)}, tmp_path / "a.safetensors"
    )
    page = opened()
    unfold(page, "More")
    put(page, "#lora-file", tmp_path / "a.safetensors")
    page.locator("#scheduler input").click()
    page.get_by_role("option", name="UniPC").click()
    page.locator("#make").click()
    toast = page.locator(".toast-body")
    toast.wait_for()
    assert "does not fit this model" in toast.inner_text()
    assert "take one that was made for this model, or leave it out" in toast.inner_text()
    page.close()


def test_a_phone_in_the_dark_has_no_sideways_scroll(chromium: Any, served: str) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = page_of(context)
    page.goto(served)
    page.locator("#make").wait_for()
    unfold(page, "A style")
    page.locator("#styles img").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    luminance = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    assert sum(page.evaluate(luminance)) < 3 * 80
    context.close()


def test_it_is_usable_by_keyboard_alone(opened: Callable[..., Any]) -> None:
    page = opened()
    ask_for_much(page)
    page.locator("#prompt textarea").focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#make') !== null"):
            break
    else:
        raise AssertionError("Tab does not lead from the words to the button")
    page.keyboard.press("Enter")
    page.wait_for_function("() => !document.querySelector('#cancel').disabled")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#state").get_by_text("was cancelled").wait_for()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_a_name_and_can_be_read(chromium: Any, served: str, scheme: str) -> None:
    """By the browser's own accessibility tree."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1400}, color_scheme=scheme)
    page = page_of(context)
    page.goto(served)
    page.get_by_text("a good photo").wait_for()
    unfold(page, "More")
    tree = context.new_cdp_session(page)
    for tab in ("Portrait", "Template", "Group", "Compare", "People", "Queue"):
        page.get_by_role("tab", name=tab, exact=True).click()
        page.evaluate(AT_REST)
        nodes = [one for one in tree.send("Accessibility.getFullAXTree")["nodes"] if not one.get("ignored")]
        assert len(nodes) > 50
        lacking = [one for one in nodes if one["role"]["value"] in NAMED and not one["name"]["value"].strip()]
        assert [tree.send("DOM.getOuterHTML", {"backendNodeId": one["backendDOMNodeId"]}) for one in lacking] == []
        assert page.evaluate(CONTRAST) == []
    context.close()

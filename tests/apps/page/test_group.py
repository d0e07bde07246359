"""Group in a real browser: two people side by side, one of them saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from facefact.generate.recipe import read_recipe
from in_browser import plainly, put, saved


def test_two_people_side_by_side_one_of_them_a_saved_card(opened: Callable[..., Any], tmp_path: Path) -> None:
    for seed in (21, 22):
        plainly(seed).save(tmp_path / f"person-{seed}.png")
    page = opened()
    page.get_by_role("tab", name="People", exact=True).click()
    put(page, "#card-photos", tmp_path / "person-22.png")
    page.get_by_label("Name").fill("Bea")
    page.locator("#card-make").click()
    page.locator("#people").get_by_text("Bea").wait_for()
    page.get_by_role("tab", name="Group", exact=True).click()
    put(page, "#person-0", tmp_path / "person-21.png")
    page.locator("#person-1-saved input").click()
    page.get_by_role("option", name="Bea").click()
    page.locator("#make-group").click()
    page.locator("#group-made img").first.wait_for()
    (made,) = saved(page, tmp_path, "#group-files")
    with Image.open(made) as image:
        assert image.size == (256, 128), "room for both"
    assert [len(one["faces"]) for one in read_recipe(made)["people"]] == [1, 1]
    page.close()

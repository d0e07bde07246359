"""Template in a real browser: a picture of two, and other people in their places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from facefact.generate.recipe import read_recipe
from in_browser import plainly, put, saved, shown_in


def test_two_faces_of_a_picture_become_other_peoples(opened: Callable[..., Any], tmp_path: Path) -> None:
    picture = Image.new("RGB", (512, 256))
    for place, seed in enumerate((11, 12)):
        picture.paste(plainly(seed), (256 * place, 0))
    picture.save(tmp_path / "two.png")
    for seed in (21, 22):
        plainly(seed).save(tmp_path / f"person-{seed}.png")
    page = opened()
    page.get_by_role("tab", name="Template", exact=True).click()
    shown_in(page, "#template", tmp_path / "two.png")
    faces = page.locator("#template-faces .legend .legend-item")
    faces.get_by_text("face 2").wait_for()
    assert page.locator("#put-0").is_visible()
    assert not page.locator("#put-1").is_visible(), "the largest face alone is chosen at first"
    faces.get_by_text("face 2").click()
    page.locator("#put-1").wait_for()
    put(page, "#put-0", tmp_path / "person-21.png")
    put(page, "#put-1", tmp_path / "person-22.png")
    page.locator("#replace").click()
    page.locator("#replaced-made img").first.wait_for()
    made = saved(page, tmp_path, "#replaced-files")
    assert len(made) == 1
    recipe = read_recipe(made[0])
    assert sorted(recipe["put"]) == ["0", "1"]
    page.close()

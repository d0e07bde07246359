from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.apps.cli import main
from facefact.evaluate.watermark import CHANGES, evaluate_watermark
from facefact.types import UserError
from facefact.world import look, person, render


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(render(person(9), look(9), size=150).image).crop((0, 0, 150, 140)).save(photos / "a.jpg")
    call = ["eval", "watermark", "--photos", str(photos), "--count", "2", "--sizes", "128", "--json"]
    assert main([*call, str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())["128"]
    assert figures["pictures"] == 4  # two of the one photo, two renders
    assert figures["found_without_a_mark"] == 0
    assert 38 < figures["psnr_db"] < 45
    assert figures["changes"].keys() == CHANGES.keys()
    assert figures["changes"]["PNG"] == {"found": 1.0, "bits": 1.0, "least": 1.0}
    assert "bits" not in figures["changes"]["cropped"]  # they do not lie where they lay
    printed = capsys.readouterr().out
    assert "| PNG | 1.000 (least 1.00), found in 100% |" in printed
    assert "| without a mark | found in 0 of 4 |" in printed


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_changes_what_it_says(name: str) -> None:
    picture = render(person(1), look(1), size=128).image
    change, in_place = CHANGES[name]
    changed = change(picture)
    assert changed.dtype == np.uint8
    assert (changed.shape == picture.shape) == in_place
    assert np.array_equal(changed, picture) == (name == "PNG")


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no pictures"):
        evaluate_watermark(photos=tmp_path)

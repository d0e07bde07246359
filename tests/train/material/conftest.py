"""A folder of people, and what finds their faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.faces import get_detector
from facefact.world import look, person, render


def avatar(who: int, shown: int, size: int = 128) -> np.ndarray:
    return render(person(who), look(shown, glasses="none", pose="front"), size=size).image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two people with two good pictures each; and what collects in folders."""
    for who in (1, 2):
        (tmp_path / f"p{who}").mkdir()
        for shown in (1, 2):
            Image.fromarray(avatar(who, 10 * who + shown)).save(tmp_path / f"p{who}" / f"{shown}.png")
    (tmp_path / "p1" / "zero.jpg").write_bytes(b"")
    (tmp_path / "p1" / "text.jpg").write_text("not a picture")
    (tmp_path / "p1" / ".hidden.jpg").write_bytes(b"")
    (tmp_path / "p2" / "notes.md").write_text("not meant to be one")
    Image.new("RGB", (40, 40)).save(tmp_path / "p2" / "small.png")
    Image.fromarray(avatar(3, 3)).save(tmp_path / "nobody.png")
    return tmp_path


@pytest.fixture(scope="module")
def detector():
    return get_detector("avatar")

"""The walk through all diffusers pipelines that take `cross_attention_kwargs`, and the page that tells of it."""

from __future__ import annotations

import re

import pytest
from pipelines import PAGE, page, pipelines, verdict


@pytest.mark.parametrize("name", pipelines())
def test_the_face_acts_or_the_page_says_why_not(name: str) -> None:
    """Scale 0 is the stock picture bit for bit."""
    written = re.findall(rf"^\| `{name}` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert written == [verdict(name, pipelines()[name])], "write the page again: python tests/adapter/pipelines.py"


def test_the_page_is_as_the_script_writes_it() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))) == text

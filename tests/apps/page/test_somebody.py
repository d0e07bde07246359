"""Who is in a place for one person."""

from __future__ import annotations

import pytest

pytest.importorskip("gradio", reason="needs Gradio (extra `app`)")

from facefact.apps.page.somebody import own


def test_the_example_stays_until_somebody_has_a_photo(tmp_path) -> None:
    example, mine, copied = (tmp_path / name for name in ("example.png", "mine.png", "cached-example.png"))
    for path, content in ((example, b"example"), (mine, b"mine"), (copied, b"example")):
        path.write_bytes(content)
    assert own([str(copied)], str(example)) == [str(copied)]
    assert own([str(copied), str(mine)], str(example)) == [str(mine)]
    assert own(None, str(example)) == []

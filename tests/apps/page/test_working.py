"""What the page says of a job, and what it refuses with a toast."""

from __future__ import annotations

import pytest

pytest.importorskip("gradio", reason="needs Gradio (extra `app`)")

import gradio as gr

from facefact.apps.page.working import bar, own, refuse_nobody, remember

JOB = {"id": "a", "kind": "portrait", "state": "running", "progress": 0.25, "warnings": ["<b>mind</b>"], "reason": None}


def test_nobody_is_refused_with_a_remedy() -> None:
    with pytest.raises(gr.Error, match="Add a photo of the person"):
        refuse_nobody([])
    assert refuse_nobody(["a.png"]) == ["a.png"]


def test_a_bar_says_how_far_and_escapes_what_it_quotes() -> None:
    said = bar(JOB)
    assert 'aria-valuenow="25"' in said
    assert "&lt;b&gt;mind&lt;/b&gt;" in said
    assert "failed: no face" in bar(JOB | {"state": "failed", "reason": "no face"})
    assert bar(None) == ""


def test_the_newest_job_is_remembered_first_and_once() -> None:
    mine = remember(remember([], JOB), JOB | {"id": "b"})
    assert [one["id"] for one in remember(mine, JOB)] == ["a", "b"]


def test_the_example_stays_until_somebody_has_a_photo(tmp_path) -> None:
    example, mine, copied = (tmp_path / name for name in ("example.png", "mine.png", "cached-example.png"))
    for path, content in ((example, b"example"), (mine, b"mine"), (copied, b"example")):
        path.write_bytes(content)
    assert own([str(copied)], str(example)) == [str(copied)]
    assert own([str(copied), str(mine)], str(example)) == [str(mine)]
    assert own(None, str(example)) == []

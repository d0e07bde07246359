"""What the page says of a job, and what it refuses with a toast."""

from __future__ import annotations

import pytest

pytest.importorskip("gradio", reason="needs Gradio (extra `app`)")

import gradio as gr

from facefact.apps.page.working import bar, refuse_nobody, remember

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

"""Compare: the same pictures with more and less of the face, in several styles, and the base model's beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import gradio as gr

from facefact.apps.page.calls import Calls, Job
from facefact.apps.page.look import PROMPTS
from facefact.apps.page.seen import PLAIN, shown_styles
from facefact.apps.page.somebody import connect, faces_of, somebody
from facefact.apps.page.working import (
    PRIVATE,
    OnLoad,
    bar,
    ended,
    folder,
    followed,
    refuse_nobody,
    remember,
    told,
)

SCALES = ("0", "0.4", "0.7", "1", "1.3")


@dataclass
class Row:
    """Pictures that differ in their seed alone."""

    scale: str
    style: str
    job: Job
    made: list[str] = field(default_factory=list)

    def caption(self, seed: int) -> str:
        styled = "" if self.style == PLAIN else f"{self.style}, "
        return f"{styled}likeness {self.scale}, seed {seed}"


def tab(url: str, mine: gr.BrowserState, known: gr.BrowserState, example: str) -> list[OnLoad]:
    """Lays the tab out and connects it; what is to happen when the page is opened. mine: the browser's jobs. known: its
    saved people. example: a picture to begin with."""
    with gr.Row():
        with gr.Column():
            whose = somebody("Photos of one person", "compared-person", example=example)
            prompt = gr.Textbox(value=PROMPTS[0], label="What to show", lines=3, max_length=4000)
            scales = gr.CheckboxGroup(
                list(SCALES), value=["0", "0.7", "1"], label="Likeness", info="0 is the base model"
            )
            styles = gr.Dropdown([PLAIN], value=[PLAIN], multiselect=True, label="Styles", elem_id="compared-styles")
            seeds = gr.Slider(1, 4, 2, step=1, label="Seeds of each")
            make = gr.Button("Compare", variant="primary", elem_id="compare")
            state = gr.HTML()
        with gr.Column():
            grid = gr.Gallery(
                label="A row for each style and likeness",
                height=640,
                object_fit="contain",
                interactive=False,
                elem_id="compared",
            )
            slider = gr.ImageSlider(
                label="Base model | the person",
                format="png",
                type="filepath",
                interactive=False,
                elem_id="base-beside",
            )

    def work(request: gr.Request, photos: Any, whom: str, people: Any, jobs: Any, *settings: Any) -> Iterator[Any]:
        words, wanted, looks, number = settings
        calls, faces, out = Calls.of(url, request), refuse_nobody(faces_of(photos, whom, people)), folder()
        if not wanted:
            raise gr.Error("Choose at least one likeness.", print_exception=False)
        rows: list[Row] = []
        for style, scale in product(looks or [PLAIN], sorted(wanted, key=float)):
            fields = {"prompt": words, "scale": float(scale), "n": int(number), "seed": 0}
            job = calls.submit("portrait", {"face": faces}, fields | {"style": "" if style == PLAIN else style})
            rows.append(Row(scale, style, job))
            jobs = remember(jobs, job)
        for row in rows:
            for now, _ in followed(calls, row.job):
                if ended(now):
                    told(now)
                    row.made = calls.pictures(now, out)
                yield bar(now), gr.skip(), gr.skip(), jobs
            shown = [(path, one.caption(seed)) for one in rows for seed, path in enumerate(one.made)]
            yield gr.skip(), gr.update(value=shown, columns=int(number)), between(rows), jobs

    def offered(request: gr.Request) -> Any:
        return shown_styles(Calls.of(url, request))[1]

    outputs = [state, grid, slider, mine]
    make.click(
        work, [*whose.parts, known, mine, prompt, scales, styles, seeds], outputs, concurrency_limit=None, **PRIVATE
    )
    connect(known, [whose], example=example)
    return [(offered, [], [styles])]


def between(rows: list[Row]) -> Any:
    """The first picture with the least and with the most of the face, of the first style."""
    whole = [row.made[0] for row in rows if row.style == rows[0].style and row.made]
    return (whole[0], whole[-1]) if len(whole) > 1 else gr.skip()

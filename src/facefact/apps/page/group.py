"""Group: several people in one picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
from PIL import Image

from facefact.apps.page import slots
from facefact.apps.page.calls import Calls
from facefact.apps.page.look import PROMPTS
from facefact.apps.page.slots import PLACES
from facefact.apps.page.somebody import connect
from facefact.apps.page.working import AT_ONCE, PRIVATE

COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#ffe119", "#f58231", "#911eb4")
SIDE_BY_SIDE, FORMING, PAINTED = "side by side", "where faces form", "where I paint"


def tab(url: str, mine: gr.BrowserState, known: gr.BrowserState) -> None:
    """Lays the tab out and connects it. mine: the browser's jobs. known: its saved people."""
    with gr.Row():
        with gr.Column():
            count = gr.Slider(2, PLACES, 2, step=1, label="How many people", elem_id="people-count")
            people = slots.slots("Person {}", "person", shown=2)
            words = [
                gr.Textbox(label=f"Person {i + 1} in words", visible=i < 2, placeholder="as the picture's")
                for i in range(PLACES)
            ]
        with gr.Column():
            prompt = gr.Textbox(value=PROMPTS[0], label="The whole picture", lines=3, max_length=4000)
            places = gr.Radio([SIDE_BY_SIDE, FORMING, PAINTED], value=SIDE_BY_SIDE, label="Where each person is")
            layout = _canvas()
            seed = gr.Number(0, label="Seed", precision=0)
            make = gr.Button("Make the group", variant="primary", elem_id="make-group")
            results = slots.results("Group", "group")

    def work(
        request: gr.Request, number: float, text: str, where: str, painted: Any, start: Any, *more: Any
    ) -> Iterator[Any]:
        (jobs, saved), said, read = more[:2], more[2:][:PLACES], more[2 + PLACES :]
        sent, fields = asked(slots.who(read, saved)[: int(number)], said[: int(number)], where, painted)
        fields |= {"prompt": text, "seed": int(start or 0)}
        yield from slots.work(Calls.of(url, request), "group", sent, fields, jobs)

    connect(known, [one.person for one in people])
    shown = [*(one.whole for one in people), *words]
    count.change(lambda n: [gr.update(visible=i % PLACES < n) for i in range(2 * PLACES)], [count], shown, **AT_ONCE)
    places.change(lambda where: gr.update(visible=where == PAINTED), [places], [layout], **AT_ONCE)
    inputs = [count, prompt, places, layout, seed, mine, known, *words, *slots.parts(people)]
    make.click(work, inputs, [*results, mine], concurrency_limit=None, **PRIVATE)


def asked(who: list[list[str]], said: Any, where: str, painted: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Files and fields of the form. gr.Error: somebody has no photo, or nothing is painted."""
    if lacking := [i + 1 for i, one in enumerate(who) if not one]:
        raise gr.Error(f"Add a photo of person {lacking[0]}.", print_exception=False)
    sent: dict[str, Any] = {f"put.{i}": one for i, one in enumerate(who)}
    fields: dict[str, Any] = {f"words.{i}": one for i, one in enumerate(said) if one}
    number = len(who)
    if where == SIDE_BY_SIDE:
        fields |= {f"box.{i}": f"{i / number:.4f},0,{(i + 1) / number:.4f},1" for i in range(number)}
    if where == PAINTED:
        if (drawn := slots.painted_alone(painted)) is None:
            raise gr.Error("Paint a place for each person, each in its own colour.", print_exception=False)
        sent["layout"] = [drawn]
    return sent, fields


def _canvas() -> gr.ImageEditor:
    return gr.ImageEditor(
        value={"background": Image.new("RGB", (576, 288)), "layers": [], "composite": None},
        label="A colour for each person: red, green, blue, yellow, orange, purple",
        type="pil",
        format="png",
        visible=False,
        brush=gr.Brush(colors=list(COLOURS), color_mode="fixed", default_size=60),
        transforms=(),
        sources=(),
    )

"""Template: faces of a picture become other people's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from facefact.apps.page import slots
from facefact.apps.page.calls import Calls
from facefact.apps.page.somebody import connect
from facefact.apps.page.working import AT_ONCE, PRIVATE

SHAPES = {"keep the template's head": "template", "bring the person's own head": "person"}
REGIONS = {"as it fits": "", "face": "face", "face and hair": "hair", "whole head": "head"}


@dataclass
class Picture:
    """The left column: the picture, its faces, who takes the place of each, and where it may change."""

    template: gr.Image
    found: gr.AnnotatedImage
    people: list[slots.Slot]
    mask: gr.ImageEditor


def tab(url: str, mine: gr.BrowserState, known: gr.BrowserState) -> None:
    """Lays the tab out and connects it. mine: the browser's jobs. known: its saved people."""
    with gr.Row():
        with gr.Column():
            picture = _picture()
        with gr.Column():
            prompt = gr.Textbox(value="portrait of a person, smiling", label="What to show", max_length=4000)
            shape = gr.Radio(list(SHAPES), value=next(iter(SHAPES)), label="The head")
            region = gr.Radio(list(REGIONS), value=next(iter(REGIONS)), label="What is repainted")
            strength = gr.Slider(0.2, 1, 0.8, step=0.05, label="How much of the old face is forgotten")
            skin = gr.Checkbox(True, label="Neck and ears follow the new face's skin")
            seed = gr.Number(0, label="Seed", precision=0)
            make = gr.Button("Replace the faces", variant="primary", elem_id="replace")
            results = slots.results("Result", "replaced")
    chosen = _connect_choosing(url, picture)
    connect(known, [one.person for one in picture.people])

    def work(
        request: gr.Request, path: Any, painted: Any, numbers: Any, people: Any, jobs: Any, words: str, *more: Any
    ) -> Iterator[Any]:
        head, part, much, tone, number, *read = more
        if path is None:
            raise gr.Error("Add the picture whose faces are to change.", print_exception=False)
        who = slots.who(read, people)
        put = {f"put.{i}": who[i] for i in numbers if who[i]}
        if not put:
            raise gr.Error("Click a face, and add a photo of who takes its place.", print_exception=False)
        sent = {"template": [path], **put}
        if (drawn := slots.painted_alone(painted)) is not None:
            sent["mask"] = [drawn]
        fields = {"prompt": words, "shape": SHAPES[head], "region": REGIONS[part], "strength": much, "skin": tone}
        yield from slots.work(Calls.of(url, request), "template", sent, fields | {"seed": int(number or 0)}, jobs)

    settings = [picture.template, picture.mask, chosen, known, mine, prompt, shape, region, strength, skin, seed]
    make.click(work, [*settings, *slots.parts(picture.people)], [*results, mine], concurrency_limit=None, **PRIVATE)


def _picture() -> Picture:
    template = gr.Image(label="The picture", type="filepath", format="png", height=260, elem_id="template")
    found = gr.AnnotatedImage(label="Its faces: click those to replace", height=260, elem_id="template-faces")
    people = slots.slots("Who takes the place of face {}", "put")
    with gr.Accordion("Paint where it may change, in place of the faces' own regions", open=False):
        mask = gr.ImageEditor(
            label="White is where it may change",
            type="pil",
            format="png",
            brush=gr.Brush(colors=["#ffffff"], color_mode="fixed"),
            transforms=(),
            sources=(),
        )
    return Picture(template, found, people, mask)


def _connect_choosing(url: str, picture: Picture) -> gr.State:
    """The numbers of the faces that are chosen: the largest at first, and what is clicked."""
    chosen = gr.State([])

    def faces(path: str | None, request: gr.Request) -> Any:
        if path is None:
            return None, None, [], *slots.shown_places([])
        answer = Calls.of(url, request).faces(path)
        if answer["error"]:
            gr.Warning(answer["error"])
        first = [0] if answer["faces"] else []
        canvas = {"background": path, "layers": [], "composite": path}
        return _boxes(path, answer), canvas, first, *slots.shown_places(first)

    def toggled(numbers: list[int], event: gr.SelectData) -> Any:
        index = int(event.index)
        now = sorted({*numbers} ^ {index}) if index < slots.PLACES else numbers
        return now, *slots.shown_places(now)

    places = [one.whole for one in picture.people]
    outputs = [picture.found, picture.mask, chosen, *places]
    picture.template.change(faces, [picture.template], outputs, show_progress="minimal", **PRIVATE)
    picture.found.select(toggled, [chosen], [chosen, *places], **AT_ONCE)
    return chosen


def _boxes(path: str, found: dict[str, Any]) -> Any:
    """The picture with a numbered box about each face, at the size that the faces were found in."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB").resize((found["width"], found["height"]))
    boxes = [(tuple(round(side) for side in face["box"]), f"face {i + 1}") for i, face in enumerate(found["faces"])]
    return picture, boxes[: slots.PLACES]

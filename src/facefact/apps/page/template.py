"""Template: faces of a picture become other people's. Group: several people in one picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from facefact.apps.page.calls import Calls
from facefact.apps.page.look import PROMPTS
from facefact.apps.page.working import bar, ended, folder, followed, remember

PLACES = 6  # people in one picture
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#ffe119", "#f58231", "#911eb4")
SIDE_BY_SIDE, FORMING, PAINTED = "side by side", "where faces form", "where I paint"
SHAPES = {"keep the template's head": "template", "bring the person's own head": "person"}
REGIONS = {"as it fits": "", "face": "face", "face and hair": "hair", "whole head": "head"}


def tab(url: str, mine: gr.BrowserState) -> None:
    """Lays the template's tab out and connects it."""
    with gr.Row():
        with gr.Column():
            template = gr.Image(label="The picture", type="filepath", format="png", height=260, elem_id="template")
            found = gr.AnnotatedImage(label="Its faces: click those to replace", height=260, elem_id="template-faces")
            people = _slots("Who takes the place of face {}", "put")
            with gr.Accordion("Paint where it may change, in place of the faces' own regions", open=False):
                mask = gr.ImageEditor(
                    label="White is where it may change",
                    type="pil",
                    format="png",
                    brush=gr.Brush(colors=["#ffffff"], color_mode="fixed"),
                    transforms=(),
                    sources=(),
                )
        with gr.Column():
            prompt = gr.Textbox(value="portrait of a person, smiling", label="What to show", max_length=4000)
            shape = gr.Radio(list(SHAPES), value=next(iter(SHAPES)), label="The head")
            region = gr.Radio(list(REGIONS), value=next(iter(REGIONS)), label="What is repainted")
            strength = gr.Slider(0.2, 1, 0.8, step=0.05, label="How much of the old face is forgotten")
            skin = gr.Checkbox(True, label="Neck and ears follow the new face's skin")
            seed = gr.Number(0, label="Seed", precision=0)
            make = gr.Button("Replace the faces", variant="primary", elem_id="replace")
            state, made, files = _results("Result")
    chosen = gr.State([])
    private: Any = {"api_visibility": "private"}

    def faces(path: str | None, request: gr.Request) -> tuple[Any, Any, list[int], Any]:
        if path is None:
            return None, None, [], *_shown([])  # type: ignore[return-value]
        answer = Calls.of(url, request).faces(path)
        if answer["error"]:
            gr.Warning(answer["error"])
        scaled = _boxes(path, answer)
        first = [0] if answer["faces"] else []
        return scaled, {"background": path, "layers": [], "composite": path}, first, *_shown(first)  # type: ignore[return-value]

    def toggled(numbers: list[int], event: gr.SelectData) -> Any:
        index = int(event.index)
        now = sorted({*numbers} ^ {index}) if index < PLACES else numbers
        return now, *_shown(now)

    def work(
        request: gr.Request, path: Any, painted: Any, numbers: Any, jobs: Any, words: str, *more: Any
    ) -> Iterator[Any]:
        head, part, much, tone, number, *who = more
        if path is None:
            raise gr.Error("Add the picture whose faces are to change.", print_exception=False)
        put = {f"put.{i}": list(who[i]) for i in numbers if who[i]}
        if not put:
            raise gr.Error("Click a face, and add a photo of who takes its place.", print_exception=False)
        calls, files_sent = Calls.of(url, request), {"template": [path], **put}
        if (drawn := _painted(painted)) is not None:
            files_sent["mask"] = [drawn]
        fields = {"prompt": words, "shape": SHAPES[head], "region": REGIONS[part], "strength": much, "skin": tone}
        yield from _work(calls, "template", files_sent, fields | {"seed": int(number or 0)}, jobs)

    template.change(faces, [template], [found, mask, chosen, *people], show_progress="minimal", **private)
    found.select(toggled, [chosen], [chosen, *people], **private)
    settings = [template, mask, chosen, mine, prompt, shape, region, strength, skin, seed]
    make.click(work, [*settings, *people], [state, made, files, mine], concurrency_limit=None, **private)


def group_tab(url: str, mine: gr.BrowserState) -> None:
    """Lays the group's tab out and connects it."""
    with gr.Row():
        with gr.Column():
            count = gr.Slider(2, PLACES, 2, step=1, label="How many people", elem_id="people-count")
            people = _slots("Person {}", "person", shown=2)
            words = [
                gr.Textbox(
                    label=f"Person {i + 1} in words", visible=i < 2, max_length=1000, placeholder="as the picture's"
                )
                for i in range(PLACES)
            ]
        with gr.Column():
            prompt = gr.Textbox(value=PROMPTS[0], label="The whole picture", lines=2, max_length=4000)
            places = gr.Radio([SIDE_BY_SIDE, FORMING, PAINTED], value=SIDE_BY_SIDE, label="Where each person is")
            layout = gr.ImageEditor(
                value={"background": Image.new("RGB", (576, 288)), "layers": [], "composite": None},
                label="A colour for each person: red, green, blue, yellow, orange, purple",
                type="pil",
                format="png",
                visible=False,
                brush=gr.Brush(colors=list(COLOURS), color_mode="fixed", default_size=60),
                transforms=(),
                sources=(),
            )
            seed = gr.Number(0, label="Seed", precision=0)
            make = gr.Button("Make the group", variant="primary")
            state, made, files = _results("Group")
    private: Any = {"api_visibility": "private"}

    def work(
        request: gr.Request, number: float, text: str, where: str, painted: Any, start: Any, jobs: Any, *parts: Any
    ) -> Iterator[Any]:
        who, said = parts[:PLACES][: int(number)], parts[PLACES:][: int(number)]
        if lacking := [i + 1 for i, one in enumerate(who) if not one]:
            raise gr.Error(f"Add a photo of person {lacking[0]}.", print_exception=False)
        files_sent: dict[str, Any] = {f"put.{i}": list(one) for i, one in enumerate(who)}
        fields: dict[str, Any] = {"prompt": text, "seed": int(start or 0)}
        fields |= {f"words.{i}": one for i, one in enumerate(said) if one}
        if where == SIDE_BY_SIDE:
            fields |= {f"box.{i}": f"{i / number:.4f},0,{(i + 1) / number:.4f},1" for i in range(int(number))}
        if where == PAINTED:
            if (drawn := _painted(painted)) is None:
                raise gr.Error("Paint a place for each person, each in its own colour.", print_exception=False)
            files_sent["layout"] = [drawn]
        yield from _work(Calls.of(url, request), "group", files_sent, fields, jobs)

    shown = [*people, *words]
    count.change(lambda n: [gr.update(visible=i % PLACES < n) for i in range(2 * PLACES)], [count], shown, **private)
    places.change(lambda where: gr.update(visible=where == PAINTED), [places], [layout], **private)
    inputs = [count, prompt, places, layout, seed, mine, *shown]
    make.click(work, inputs, [state, made, files, mine], concurrency_limit=None, **private)


def _slots(label: str, name: str, *, shown: int = 0) -> list[gr.File]:
    """A place for the photos of each person."""
    return [
        gr.File(
            label=label.format(i + 1),
            file_count="multiple",
            file_types=["image", ".safetensors"],
            type="filepath",
            height=120,
            visible=i < shown,
            elem_id=f"{name}-{i}",
        )
        for i in range(PLACES)
    ]


def _shown(numbers: list[int]) -> list[Any]:
    return [gr.update(visible=i in numbers) for i in range(PLACES)]


def _results(label: str) -> tuple[gr.HTML, gr.Gallery, gr.File]:
    state = gr.HTML()
    made = gr.Gallery(label=label, columns=1, height=360, object_fit="contain", interactive=False)
    return state, made, gr.File(label="Download, with the recipe inside", interactive=False)


def _work(calls: Calls, kind: str, files: Any, fields: Any, jobs: Any) -> Iterator[Any]:
    """A job, followed to its end: (state, pictures, files, the browser's jobs)."""
    job = calls.submit(kind, files, fields)
    jobs, out = remember(jobs, job), folder()
    for now, _ in followed(calls, job):
        pictures = calls.pictures(now, out) if ended(now) and now["state"] == "done" else []
        yield bar(now), pictures or gr.skip(), pictures or gr.skip(), jobs


def _boxes(path: str, found: dict[str, Any]) -> Any:
    """The picture with a numbered box about each face, at the size that the faces were found in."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB").resize((found["width"], found["height"]))
    boxes = [(tuple(round(side) for side in face["box"]), f"face {i + 1}") for i, face in enumerate(found["faces"])]
    return picture, boxes[:PLACES]


def _painted(painted: Any) -> str | None:
    """What was painted, alone and on black, as a file; None: nothing was."""
    layers = [one for one in (painted or {}).get("layers", []) if one is not None and np.asarray(one)[..., 3].any()]
    if not layers:
        return None
    whole = Image.new("RGBA", layers[0].size, "black")
    for layer in layers:
        solid = np.asarray(layer.convert("RGBA")).copy()
        solid[..., 3] = np.where(solid[..., 3] > 127, 255, 0)
        whole.alpha_composite(Image.fromarray(solid))
    path = folder() / "painted.png"
    whole.convert("RGB").save(path)
    return str(path)

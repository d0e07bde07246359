"""Portrait: photos of a person and a prompt become portraits, which one sees while they form."""

from __future__ import annotations

import base64
import html
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from facefact.apps.page import cards
from facefact.apps.page.calls import Calls, Job
from facefact.apps.page.look import PROMPTS
from facefact.apps.page.working import bar, ended, folder, followed, refuse_nobody, remember
from facefact.types import UserError

# The fields of the form, in the order of the components below them.
FIELDS = (
    "prompt",
    "n",
    "scale",
    "seed",
    "steps",
    "guidance_scale",
    "width",
    "start",
    "end",
    "negative_prompt",
    "local",
)
PLAIN = "none: the words alone"
FORMATS = {"PNG": "png", "JPEG": "jpeg", "WebP": "webp"}


OnLoad = tuple[Any, list[Any], list[Any]]  # function, inputs, outputs


@dataclass
class Form:
    """The components that a recipe fills again, in the order of FIELDS."""

    parts: list[Any]


def tab(
    url: str, mine: gr.BrowserState, known: gr.BrowserState, example: str
) -> list[tuple[Any, list[Any], list[Any]]]:
    """Lays the tab out and connects it. What is to happen when the page is opened: (function, inputs, outputs) of each.
    mine: the browser's jobs. known: its saved people."""
    with gr.Row():
        with gr.Column(scale=5):
            photos = gr.File(
                value=[example],
                label="Photos of one person (or an identity card)",
                file_count="multiple",
                file_types=["image", ".safetensors"],
                type="filepath",
                height=120,
                elem_id="photos",
            )
            with gr.Accordion("Use the camera", open=False):
                camera = gr.Image(sources=["webcam"], type="filepath", label="A picture of you", format="png")
            saved = gr.Dropdown([cards.NOBODY], value=cards.NOBODY, label="Or somebody you saved", elem_id="saved")
            with gr.Accordion("A style", open=False):
                looks = gr.Gallery(
                    label="Styles",
                    columns=4,
                    height=220,
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    elem_id="styles",
                )
                style = gr.Dropdown([PLAIN], value=PLAIN, label="The style", elem_id="style")
            form = _form()
            with gr.Row():
                make = gr.Button("Make portraits", variant="primary", elem_id="make", scale=3)
                cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="cancel", scale=1)
        with gr.Column(scale=5):
            found = gr.Image(label="What was found in the photo", interactive=False, height=200, elem_id="found")
            said = gr.HTML(elem_id="said")
            state = gr.HTML(elem_id="state")
            forming = gr.Image(label="Forming", interactive=False, height=220, visible=False, elem_id="forming")
            made = gr.Gallery(
                label="Portraits",
                columns=3,
                height=360,
                object_fit="contain",
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_id="made",
            )
            files = gr.File(label="Download, with the recipe inside", interactive=False, visible=False, elem_id="files")
            again = gr.File(
                label="This recipe again: drop one of our pictures",
                file_types=["image"],
                type="filepath",
                height=130,
                elem_id="again",
            )
    running = gr.State(None)
    private: Any = {"api_visibility": "private"}

    def look(paths: list[str] | None, request: gr.Request) -> tuple[Any, str]:
        return looked_at(Calls.of(url, request), paths)

    def work(
        request: gr.Request,
        paths: list[str] | None,
        chosen: str,
        people: Any,
        jobs: Any,
        kind: str,
        manner: str,
        *values: Any,
    ) -> Iterator[Any]:
        calls = Calls.of(url, request)
        faces = cards.paths_of(chosen, people) if chosen != cards.NOBODY else refuse_nobody(paths)
        job = calls.submit(
            "portrait",
            {"face": faces},
            fields_of(values) | {"format": FORMATS[kind], "style": "" if manner == PLAIN else manner},
        )
        jobs = remember(jobs, job)
        out = folder()
        for now, preview in followed(calls, job):
            shown = gr.update(value=preview, visible=True) if preview is not None else gr.update()
            pictures = calls.pictures(now, out) if now["state"] == "done" else []
            yield (
                bar(now),
                gr.update(visible=False) if ended(now) else shown,
                ranked(calls, faces, pictures) or gr.skip(),
                gr.update(value=pictures, visible=True) if pictures else gr.skip(),
                now,
                jobs,
                gr.update(interactive=not ended(now)),
            )

    def halted(job: Any, request: gr.Request) -> str:
        return stop(Calls.of(url, request), job)

    photos.change(look, [photos], [found, said], show_progress="hidden", **private)
    camera.change(lambda path, there: [*(there or []), path] if path else there, [camera, photos], [photos], **private)
    outputs = [state, forming, made, files, running, mine, cancel]
    inputs = [photos, saved, known, mine, form.kind, style, *form.parts]
    make.click(work, inputs, outputs, concurrency_limit=None, show_progress="hidden", **private)
    cancel.click(halted, [running], [state], **private)
    again.upload(refilled, [again], form.parts, **private)

    def offered(request: gr.Request) -> tuple[Any, Any]:
        return shown_styles(Calls.of(url, request))

    def picked(event: gr.SelectData, request: gr.Request) -> str:
        found = [one for one in Calls.of(url, request).styles() if one["preview"]]
        return str(found[int(event.index)]["name"])

    looks.select(picked, None, [style], **private)
    known.change(cards.choices, [known], [saved], **private)
    return [(look, [photos], [found, said]), (offered, [], [looks, style])]


def _form() -> Any:
    """The settings, the few that matter first."""
    prompt = gr.Textbox(
        label="What to show",
        value=PROMPTS[0],
        lines=2,
        max_length=4000,
        info="Hair, expression, glasses, clothes, place: what you leave out is chosen for you.",
        elem_id="prompt",
    )
    gr.Examples([[one] for one in PROMPTS], [prompt], label="Examples", examples_per_page=4)
    with gr.Row():
        number = gr.Slider(1, 8, 2, step=1, label="How many", elem_id="number")
        scale = gr.Slider(
            0,
            1.2,
            0.7,
            step=0.05,
            label="Likeness",
            info="0 is anybody, 1 as close as it gets",
            elem_id="likeness",
        )
    with gr.Row():
        seed = gr.Number(0, label="Seed", info="The same seed makes the same picture", precision=0, elem_id="seed")
        dice = gr.Button("Another seed", size="sm", elem_id="dice")
    with gr.Accordion("More", open=False):
        steps = gr.Slider(4, 60, 12, step=1, label="Steps", info="More is slower and finer")
        guidance = gr.Slider(1, 12, 3, step=0.5, label="How strictly to follow the words")
        size = gr.Dropdown(
            [("as the model likes it", 0), *((f"{side} x {side}", side) for side in (128, 256, 512, 768, 1024))],
            value=0,
            label="Size",
        )
        with gr.Row():
            start = gr.Slider(0, 1, 0, step=0.05, label="The face acts from", info="0: from the first step")
            end = gr.Slider(0, 1, 1, step=0.05, label="The face acts until", info="1: to the last step")
        negative = gr.Textbox(label="What not to show", max_length=4000)
        local = gr.Checkbox(label="Work on the face's region alone (faster)")
        kind = gr.Radio(list(FORMATS), value="PNG", label="File")
    dice.click(lambda: random.randrange(10**6), None, [seed], api_visibility="private")
    form = Form([prompt, number, scale, seed, steps, guidance, size, start, end, negative, local])
    form.kind = kind  # type: ignore[attr-defined]
    return form


def fields_of(values: Any) -> dict[str, Any]:
    """As the API wants them; what is at its natural place is left out."""
    fields: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
    for name in ("n", "seed", "steps"):
        fields[name] = int(fields[name] or 0)
    side = int(fields.pop("width") or 0)
    return fields | ({"width": side, "height": side} if side else {})


def ranked(calls: Calls, faces: list[str], pictures: list[str]) -> list[tuple[str, str]]:
    """The pictures with what their likeness means, the most alike first."""
    if not pictures:
        return []
    found = calls.likeness(faces, pictures)
    order = sorted(zip(pictures, found, strict=True), key=lambda one: one[1]["similarity"] or -2.0, reverse=True)
    return [(path, said_of_likeness(one)) for path, one in order]


def said_of_likeness(one: dict[str, Any]) -> str:
    if one["similarity"] is None:
        return "no face is found in it"
    if one["likeness"] is None:
        return f"similarity {one['similarity']:.2f}"
    return f"likeness {one['likeness']:.2f}: {one['words']}"


def shown_styles(calls: Calls) -> tuple[Any, Any]:
    """Those with a preview as a gallery, and all to choose from."""
    found = calls.styles()
    pictures = []
    for one in found:
        if one["preview"]:
            with Image.open(io.BytesIO(base64.b64decode(one["preview"]))) as image:
                pictures.append((image.convert("RGB"), one["title"] or one["name"]))
    choices = [PLAIN, *((one["title"] or one["name"], one["name"]) for one in found)]
    return pictures, gr.update(choices=choices)


def looked_at(calls: Calls, paths: list[str] | None) -> tuple[Any, str]:
    """The last photo with what was found drawn into it, and in words what speaks against each."""
    lines, drawn = [], None
    for number, path in enumerate(paths or [], 1):
        if str(path).endswith(".safetensors"):
            lines.append(f"<li>{number}: an identity card</li>")
            continue
        try:
            found = calls.faces(path)
        except gr.Error as error:
            lines.append(f"<li>{number}: {html.escape(str(error.message))}</li>")
            continue
        if found["drawn"]:
            with Image.open(io.BytesIO(base64.b64decode(found["drawn"]))) as image:
                drawn = image.convert("RGB")
        lines += [f"<li>{number}: {html.escape(one)}</li>" for one in said_of(found)]
    return drawn, f'<div class="said" role="status"><ul>{"".join(lines)}</ul></div>' if lines else ""


def said_of(found: dict[str, Any]) -> list[str]:
    """In plain words."""
    if found["error"]:
        return [found["error"], *found["warnings"]]
    face = found["faces"][found["which"] or 0]
    others = len(found["faces"]) - 1
    more = [f"{others} more faces are in it; the largest is taken"] if others else []
    return [*more, *face["costs"], *found["warnings"]] or ["a good photo: one face, sharp and near"]


def stop(calls: Calls, job: Job | None) -> str:
    """Cancels it; its state then."""
    if job is None:
        return ""
    calls.delete(str(job["kind"]), str(job["id"]))
    return bar(calls.job(str(job["kind"]), str(job["id"])))


def refilled(path: str | None) -> list[Any]:
    """The form as the picture's recipe says. gr.Error: it carries none."""
    from facefact.generate.recipe import read_recipe

    if path is None:
        return [gr.skip() for _ in FIELDS]
    try:
        recipe = read_recipe(path)
    except UserError as error:
        raise gr.Error(str(error).replace(str(path), "this picture"), print_exception=False) from None
    side = recipe.get("width") if recipe.get("width") == recipe.get("height") else None
    known = recipe | {"n": 1, "width": side if side in (128, 256, 512, 768, 1024) else 0}
    return [known[name] if known.get(name) is not None else gr.skip() for name in FIELDS]

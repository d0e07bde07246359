"""The form of a portrait: its settings, what a style adds, and how a picture's recipe fills it again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import gradio as gr

from facefact.apps.page.look import PROMPTS
from facefact.apps.page.working import PRIVATE
from facefact.types import UserError

# The fields of the form, in the order of its parts.
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
FORMATS = {"PNG": "png", "JPEG": "jpeg", "WebP": "webp"}
SIDES = (128, 256, 512, 768, 1024)


@dataclass
class Form:
    """parts: the components that a recipe fills again, in the order of FIELDS. kind: of the files."""

    parts: list[Any]
    kind: gr.Radio


def form() -> Form:
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
        about = "0 is anybody, 1 as close as it gets"
        scale = gr.Slider(0, 1.2, 0.7, step=0.05, label="Likeness", info=about, elem_id="likeness")
    with gr.Row():
        seed = gr.Number(0, label="Seed", info="The same seed makes the same picture", precision=0, elem_id="seed")
        dice = gr.Button("Another seed", size="sm", elem_id="dice")
    dice.click(lambda: random.randrange(10**6), None, [seed], **PRIVATE)
    return _more([prompt, number, scale, seed])


def _more(first: list[Any]) -> Form:
    """What most people never touch."""
    with gr.Accordion("More", open=False):
        steps = gr.Slider(4, 60, 12, step=1, label="Steps", info="More is slower and finer", elem_id="steps")
        guidance = gr.Slider(1, 12, 3, step=0.5, label="How strictly to follow the words")
        sizes = [("as the model likes it", 0), *((f"{side} x {side}", side) for side in SIDES)]
        size = gr.Dropdown(sizes, value=0, label="Size")
        with gr.Row():
            start = gr.Slider(0, 1, 0, step=0.05, label="The face acts from", info="0: from the first step")
            end = gr.Slider(0, 1, 1, step=0.05, label="The face acts until", info="1: to the last step")
        negative = gr.Textbox(label="What not to show", max_length=4000)
        local = gr.Checkbox(label="Work on the face's region alone (faster)")
        kind = gr.Radio(list(FORMATS), value="PNG", label="File")
    return Form([*first, steps, guidance, size, start, end, negative, local], kind)


def fields_of(values: Any) -> dict[str, Any]:
    """As the API wants them; what is at its natural place is left out."""
    fields: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
    for name in ("n", "seed", "steps"):
        fields[name] = int(fields[name] or 0)
    side = int(fields.pop("width") or 0)
    return fields | ({"width": side, "height": side} if side else {})


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
    known = recipe | {"n": 1, "width": side if side in SIDES else 0}
    return [known[name] if known.get(name) is not None else gr.skip() for name in FIELDS]

"""The form of a portrait: its settings, what a style adds, and how a picture's recipe fills it again."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from facefact.apps.page.look import PROMPTS
from facefact.apps.page.working import PRIVATE
from facefact.demo import GUIDANCE_SCALE, SCALE
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
    "face_guidance",
    "exact_prompt",
    "scheduler",
    "lora",
    "lora_weight",
)
FORMATS = {"PNG": "png", "JPEG": "jpeg", "WebP": "webp"}
# What the words mean; the API knows more of diffusers' schedulers.
SCHEDULERS = (
    ("as the model has it", ""),
    ("UniPC: good after few steps", "UniPCMultistep"),
    ("DPM++ 2M: good after few steps", "DPMSolverMultistep"),
    ("DDIM: plain", "DDIM"),
    ("DDPM: fresh noise at each step", "DDPM"),
    ("Euler: plain", "EulerDiscrete"),
    ("Euler ancestral: another picture with other steps", "EulerAncestralDiscrete"),
    ("Heun: slow and fine", "HeunDiscrete"),
    ("LCM: for models and LoRAs made for 4 to 8 steps", "LCM"),
    ("TCD: for models and LoRAs made for 4 to 8 steps", "TCD"),
)
SENT = "lora-"  # how the worker calls a LoRA that came with the job
NO_LORA = ("none", "")
SIDES = (128, 256, 512, 768, 1024)


@dataclass(frozen=True)
class First:
    """What the settings begin with; as `Settings` has them (which would bring PyTorch into the page's process)."""

    steps: int = 25
    guidance_scale: float = 5.0
    scale: float = 0.7
    face_guidance: bool = True


# Of the demo model few steps, for which a first portrait need not wait.
OF_DEMO = First(steps=12, guidance_scale=GUIDANCE_SCALE, scale=SCALE, face_guidance=False)


@dataclass
class Form:
    """parts: the components that a recipe fills again, in the order of FIELDS. kind: of the files. lora: the names that
    may be chosen. lora_file: one that is sent along."""

    parts: list[Any]
    kind: gr.Radio
    lora: gr.Dropdown
    lora_file: gr.File


def form(first: First) -> Form:
    """The settings, the few that matter first. first: the values that they begin with, the model's own."""
    prompt = gr.Textbox(
        label="What to show",
        value=PROMPTS[0],
        lines=2,
        max_length=4000,
        info="Hair, expression, glasses, clothes, place: what you leave out is chosen for you.",
        elem_id="prompt",
    )
    gr.Examples([[one] for one in PROMPTS], [prompt], label="Examples", examples_per_page=4, elem_id="examples")
    with gr.Row():
        number = gr.Slider(1, 8, 2, step=1, label="How many", elem_id="number")
        about = "0 is anybody; much more than where it begins is drawn worse"
        scale = gr.Slider(0, 1.5, first.scale, step=0.05, label="Likeness", info=about, elem_id="likeness")
    with gr.Row():
        seed = gr.Number(0, label="Seed", info="The same seed makes the same picture", precision=0, elem_id="seed")
        dice = gr.Button("Another seed", size="sm", elem_id="dice")
    dice.click(None, None, [seed], js="() => Math.floor(1e6 * Math.random())", **PRIVATE)
    return _more([prompt, number, scale, seed], first)


def _more(above: list[Any], first: First) -> Form:
    """What most people never touch."""
    with gr.Accordion("More", open=False):
        steps = gr.Slider(1, 60, first.steps, step=1, label="Steps", info="More is slower and finer", elem_id="steps")
        guidance = gr.Slider(1, 12, first.guidance_scale, step=0.5, label="How strictly to follow the words")
        sizes = [("as the model likes it", 0), *((f"{side} x {side}", side) for side in SIDES)]
        size = gr.Dropdown(sizes, value=0, label="Size")
        with gr.Row():
            start = gr.Slider(0, 1, 0, step=0.05, label="The face acts from", info="0: from the first step")
            end = gr.Slider(0, 1, 1, step=0.05, label="The face acts until", info="1: to the last step")
        negative = gr.Textbox(label="What not to show", max_length=4000)
        local = gr.Checkbox(label="Work on the face's region alone (faster)")
        both = gr.Checkbox(
            first.face_guidance,
            label="Strictness holds for the face, too",
            info="More like, and features are exaggerated; take less likeness then",
            elem_id="face-guidance",
        )
        exact = gr.Checkbox(label="Draw what the words say and no more", elem_id="exact")
        scheduler = gr.Dropdown(
            list(SCHEDULERS),
            value="",
            label="Scheduler",
            info="How the noise is taken away, step by step",
            elem_id="scheduler",
        )
        lora, weight, file = _lora()
        kind = gr.Radio(list(FORMATS), value="PNG", label="File")
    parts = [*above, steps, guidance, size, start, end, negative, local, both, exact, scheduler, lora, weight]
    return Form(parts, kind, lora, file)


def _lora() -> tuple[gr.Dropdown, gr.Slider, gr.File]:
    about = "A small file that changes the model's manner. Those in the models directory are listed"
    with gr.Row():
        lora = gr.Dropdown([NO_LORA], value="", label="LoRA", info=about, elem_id="lora")
        weight = gr.Slider(-2, 2, 1, step=0.05, label="LoRA's weight", info="0 is without it", elem_id="lora-weight")
    file = gr.File(
        label="Or a LoRA from this computer (.safetensors)",
        file_types=[".safetensors"],
        type="filepath",
        height=110,
        elem_id="lora-file",
    )
    return lora, weight, file


def fields_of(values: Any, *, lora_sent: bool = False) -> dict[str, Any]:
    """As the API wants them; what is at its natural place is left out. lora_sent: whether a LoRA goes along. gr.Error:
    two are chosen."""
    fields: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
    if lora_sent and fields["lora"]:
        raise gr.Error("Two LoRAs are chosen: take the file away, or choose none in the list.", print_exception=False)
    if not (lora_sent or fields["lora"]):
        del fields["lora_weight"]
    for name in ("n", "seed", "steps"):
        fields[name] = int(fields[name] or 0)
    side = int(fields.pop("width") or 0)
    return fields | ({"width": side, "height": side} if side else {})


def refilled(path: str | None, loras: Collection[str] = ()) -> list[Any]:
    """The form as the picture's recipe says. loras: those that may be chosen. gr.Error: it carries none."""
    from facefact.generate.recipe import read_recipe

    if path is None:
        return [gr.skip() for _ in FIELDS]
    try:
        recipe = read_recipe(path)
    except UserError as error:
        raise gr.Error(str(error).replace(str(path), "this picture"), print_exception=False) from None
    side = recipe.get("width") if recipe.get("width") == recipe.get("height") else None
    known = recipe | {"n": 1, "width": side if side in SIDES else 0} | parts_in(recipe, loras)
    return [known[name] if known.get(name) is not None else gr.skip() for name in FIELDS]


def parts_in(recipe: Mapping[str, Any], loras: Collection[str]) -> dict[str, Any]:
    """Scheduler and LoRA of a recipe, as the form has them. Of what cannot be chosen here a note tells."""
    scheduler = str(recipe.get("scheduler") or "").removesuffix("Scheduler")
    if scheduler not in (name for _, name in SCHEDULERS):
        gr.Warning(f"It was made with the scheduler {html.escape(scheduler)}, which this form does not offer.")
        scheduler = ""
    model = recipe.get("model")
    there = model.get("loras") or [] if isinstance(model, Mapping) else []
    found: dict[str, Any] = {"scheduler": scheduler, "lora": "", "exact_prompt": not recipe.get("words")}
    for one in there:
        if one["name"] in loras:
            found |= {"lora": one["name"], "lora_weight": one["weight"]}
        elif one["name"].startswith(SENT):
            found |= {"lora_weight": one["weight"]}
            gr.Info("It was made with a LoRA that was sent along: choose its file again, if it is not there.")
        else:
            name = html.escape(one["name"])
            gr.Warning(f"It was made with the LoRA {name}, which is not here: put it into the models directory.")
    return found

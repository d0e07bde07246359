"""Compare: the same pictures with more and less of the face, and the base model's beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from facefact.apps.page.calls import Calls, Job
from facefact.apps.page.look import PROMPTS
from facefact.apps.page.working import PRIVATE, bar, ended, folder, followed, refuse_nobody, remember, told

SCALES = ("0", "0.4", "0.7", "1", "1.3")


def tab(url: str, mine: gr.BrowserState, example: str) -> None:
    with gr.Row():
        with gr.Column():
            photos = gr.File(
                value=[example],
                label="Photos of one person",
                file_count="multiple",
                file_types=["image", ".safetensors"],
                type="filepath",
                height=120,
            )
            prompt = gr.Textbox(value=PROMPTS[0], label="What to show", lines=2, max_length=4000)
            scales = gr.CheckboxGroup(
                list(SCALES), value=["0", "0.7", "1"], label="Likeness", info="0 is the base model"
            )
            seeds = gr.Slider(1, 4, 2, step=1, label="Seeds of each")
            make = gr.Button("Compare", variant="primary", elem_id="compare")
            state = gr.HTML()
        with gr.Column():
            grid = gr.Gallery(label="One row a likeness", height=460, object_fit="contain", interactive=False)
            slider = gr.ImageSlider(label="Base model | the person", format="png", type="filepath", interactive=False)

    def work(paths: Any, words: str, wanted: list[str], number: float, jobs: Any, request: gr.Request) -> Iterator[Any]:
        calls, faces, out = Calls.of(url, request), refuse_nobody(paths), folder()
        if not wanted:
            raise gr.Error("Choose at least one likeness.", print_exception=False)
        made: dict[str, list[str]] = {}
        waiting: list[tuple[str, Job]] = []
        for scale in sorted(wanted, key=float):
            fields = {"prompt": words, "scale": float(scale), "n": int(number), "seed": 0}
            waiting.append((scale, calls.submit("portrait", {"face": faces}, fields)))
            jobs = remember(jobs, waiting[-1][1])
        for scale, job in waiting:
            for now, _ in followed(calls, job):
                if ended(now):
                    told(now)
                    made[scale] = calls.pictures(now, out)
                yield bar(now), gr.skip(), gr.skip(), jobs
            shown = [(path, f"likeness {one}, seed {i}") for one, paths in made.items() for i, path in enumerate(paths)]
            yield gr.skip(), gr.update(value=shown, columns=int(number)), between(made), jobs

    outputs = [state, grid, slider, mine]
    make.click(work, [photos, prompt, scales, seeds, mine], outputs, concurrency_limit=None, **PRIVATE)


def between(made: dict[str, list[str]]) -> Any:
    """The first picture with the least and with the most of the face."""
    whole = [paths[0] for _, paths in sorted(made.items(), key=lambda one: float(one[0])) if paths]
    return (whole[0], whole[-1]) if len(whole) > 1 else gr.skip()

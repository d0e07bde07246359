"""What template and group share: places for photos of several people, results, what was painted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from facefact.apps.page.calls import Calls
from facefact.apps.page.working import bar, ended, folder, followed, remember, told

PLACES = 6  # people in one picture


def slots(label: str, name: str, *, shown: int = 0) -> list[gr.File]:
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


def shown_places(numbers: list[int]) -> list[Any]:
    return [gr.update(visible=i in numbers) for i in range(PLACES)]


def results(label: str) -> tuple[gr.HTML, gr.Gallery, gr.File]:
    state = gr.HTML()
    made = gr.Gallery(label=label, columns=1, height=400, object_fit="contain", interactive=False)
    return state, made, gr.File(label="Download, with the recipe inside", interactive=False)


def work(calls: Calls, kind: str, files: Any, fields: Any, jobs: Any) -> Iterator[Any]:
    """A job, followed to its end: (state, pictures, files, the browser's jobs)."""
    job = calls.submit(kind, files, fields)
    jobs, out = remember(jobs, job), folder()
    for now, _ in followed(calls, job):
        pictures = calls.pictures(now, out) if ended(now) and now["state"] == "done" else []
        if ended(now):
            told(now)
        yield bar(now), pictures or gr.skip(), pictures or gr.skip(), jobs


def painted_alone(painted: Any) -> str | None:
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

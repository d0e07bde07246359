"""What template and group share: places for photos of several people, results, what was painted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from facefact.apps.page.calls import Calls
from facefact.apps.page.somebody import Somebody, faces_of, somebody
from facefact.apps.page.working import bar, ended, folder, followed, remember, told

PLACES = 6  # people in one picture


@dataclass
class Slot:
    """A person's place; the whole of it is shown or hidden."""

    whole: gr.Group
    person: Somebody


def slots(label: str, name: str, *, shown: int = 0) -> list[Slot]:
    """A place for each person; the first `shown` can be seen."""
    return [_slot(label.format(i + 1), f"{name}-{i}", seen=i < shown) for i in range(PLACES)]


def _slot(label: str, name: str, *, seen: bool) -> Slot:
    with gr.Group(visible=seen) as whole:
        return Slot(whole, somebody(label, name))


def parts(places: Sequence[Slot]) -> list[Any]:
    """What an event reads to know who is where: see `who`."""
    return [part for one in places for part in one.person.parts]


def who(read: Sequence[Any], people: Any) -> list[list[str]]:
    """The files of each place, none where nobody is. read: what `parts` held. people: who is saved."""
    return [faces_of(read[2 * i], read[2 * i + 1], people) for i in range(PLACES)]


def shown_places(numbers: Sequence[int]) -> list[Any]:
    return [gr.update(visible=i in numbers) for i in range(PLACES)]


def results(label: str, name: str) -> tuple[gr.HTML, gr.Image, gr.File]:
    """State, picture and file of a job. name: the ids' beginning."""
    state = gr.HTML(elem_id=f"{name}-state")
    made = gr.Image(
        label=label,
        type="filepath",
        format="png",
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id=f"{name}-made",
    )
    files = gr.File(label="Download, with the recipe inside", interactive=False, elem_id=f"{name}-files")
    return state, made, files


def work(calls: Calls, kind: str, files: Any, fields: Any, jobs: Any) -> Iterator[Any]:
    """A job of one picture, followed to its end: (state, picture, file, the browser's jobs)."""
    job = calls.submit(kind, files, fields)
    jobs, out = remember(jobs, job), folder()
    for now, _ in followed(calls, job):
        picture = calls.pictures(now, out)[0] if now["state"] == "done" else gr.skip()
        if ended(now):
            told(now)
        yield bar(now), picture, picture, jobs


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

"""Portrait: photos of a person and a prompt become portraits, which one sees while they form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from facefact.apps.page import again
from facefact.apps.page.calls import Calls, Job
from facefact.apps.page.form import FORMATS, NO_LORA, First, Form, fields_of, form
from facefact.apps.page.seen import PLAIN, looked_at, ranked, shown_styles
from facefact.apps.page.somebody import Somebody, connect, faces_of, own, somebody
from facefact.apps.page.working import (
    AT_ONCE,
    PRIVATE,
    OnLoad,
    bar,
    ended,
    folder,
    followed,
    forming,
    refuse_nobody,
    remember,
    told,
)

SAME = [gr.skip()] * 7  # of what `_seen` tells, all but the first two


@dataclass
class Asking:
    """The left column: who, in which style, with which settings."""

    person: Somebody
    camera: gr.Image
    looks: gr.Gallery
    style: gr.Dropdown
    form: Form
    make: gr.Button
    cancel: gr.Button


@dataclass
class Showing:
    """The right column: what was found, what forms, what was made."""

    found: gr.Image
    said: gr.HTML
    state: gr.HTML
    forming: gr.HTML
    made: gr.Gallery
    scale: gr.HTML
    words: gr.Button
    same: gr.Button
    files: gr.File
    dropped: gr.File


def tab(url: str, mine: gr.BrowserState, known: gr.BrowserState, example: str, first: First) -> list[OnLoad]:
    """Lays the tab out and connects it; what is to happen when the page is opened. mine: the browser's jobs. known: its
    saved people. example: a picture to begin with. first: the settings to begin with."""
    with gr.Row():
        with gr.Column(scale=5):
            asking = _asking(example, first)
        with gr.Column(scale=5):
            showing = _showing()
    _connect_making(url, mine, known, asking, showing)
    return _connect_looking(url, known, asking, showing, example)


def _asking(example: str, first: First) -> Asking:
    person = somebody("Photos of one person, or a card", "photos", example=example)
    with gr.Accordion("Use the camera", open=False):
        camera = gr.Image(sources=["webcam"], type="filepath", label="A picture of you", format="png")
    with gr.Accordion("A style", open=False):
        looks = gr.Gallery(
            label="Styles", columns=4, height=270, allow_preview=False, interactive=False, elem_id="styles"
        )
        style = gr.Dropdown([PLAIN], value=PLAIN, label="The style", elem_id="style")
    settings = form(first)
    with gr.Row():
        make = gr.Button("Make portraits", variant="primary", elem_id="make", scale=3)
        cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="cancel", scale=1)
    return Asking(person, camera, looks, style, settings, make, cancel)


def _showing() -> Showing:
    found = gr.Image(
        label="What was found in the photo", interactive=False, height=200, buttons=["fullscreen"], elem_id="found"
    )
    said, state, forms = (gr.HTML(elem_id=name) for name in ("said", "state", "forming"))
    made = gr.Gallery(
        label="Portraits, the most alike first",
        columns=3,
        height=340,
        object_fit="contain",
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id="made",
    )
    scale = gr.HTML(elem_id="scale")
    words, same = again.buttons()
    files = gr.File(label="Download, with the recipe inside", interactive=False, visible=False, elem_id="files")
    dropped = gr.File(
        label="The recipe of an older picture: drop it here",
        file_types=["image"],
        type="filepath",
        height=130,
        elem_id="again",
    )
    return Showing(found, said, state, forms, made, scale, words, same, files, dropped)


def _connect_making(url: str, mine: gr.BrowserState, known: gr.BrowserState, asking: Asking, showing: Showing) -> None:
    running, of = gr.State(None), gr.State(None)
    form = asking.form
    chosen = again.connect(
        url,
        form,
        words=showing.words,
        same=showing.same,
        dropped=showing.dropped,
        made=showing.made,
        of=of,
        person=asking.person.parts,
        style=asking.style,
    )

    def work(request: gr.Request, paths: Any, whom: str, people: Any, jobs: Any, *settings: Any) -> Iterator[Any]:
        kind, manner, lora, *values = settings
        calls = Calls.of(url, request)
        faces = refuse_nobody(faces_of(paths, whom, people))
        fields = fields_of(values, lora_sent=bool(lora)) | {"format": FORMATS[kind]}
        fields["style"] = "" if manner == PLAIN else manner
        job = calls.submit("portrait", {"face": faces} | ({"lora_file": [lora]} if lora else {}), fields)
        jobs = remember(jobs, job)
        for now, preview in followed(calls, job):
            for seen in _seen(calls, now, preview, faces, [paths, whom]):
                yield *seen, now, jobs, gr.update(interactive=not ended(now))
                jobs = gr.skip()  # the browser has them

    def halted(job: Any, request: gr.Request) -> str:
        return stop(Calls.of(url, request), job)

    pictures = [showing.made, showing.scale, showing.files, showing.words, showing.same, of, chosen]
    outputs = [showing.state, showing.forming, *pictures, running, mine, asking.cancel]
    inputs = [*asking.person.parts, known, mine, form.kind, asking.style, form.lora_file, *form.parts]
    asking.make.click(work, inputs, outputs, concurrency_limit=None, show_progress="hidden", **PRIVATE)
    asking.cancel.click(halted, [running], [showing.state], **PRIVATE)


def _seen(calls: Calls, job: Job, preview: Any, faces: list[str], whose: list[Any]) -> Iterator[list[Any]]:
    """Of a job as it is now: its state, the picture that forms; and when it is done what was made (at once, and then
    in the order of its likeness), what is said of that, the files, two buttons that can be used now, of whom it is, and
    that none of them is chosen yet."""
    if not ended(job):
        yield [bar(job), gr.skip() if preview is None else forming(preview), *SAME]
        return
    told(job)
    made = calls.pictures(job, folder()) if job["state"] == "done" else []
    usable = gr.update(interactive=True)
    if not made:
        yield [bar(job), "", *SAME]
        return
    yield [bar(job), "", made, "", gr.update(value=made, visible=True), usable, usable, whose, 0]
    yield [bar(job), "", *ranked(calls, faces, made), *SAME[2:]]


def _connect_looking(url: str, known: gr.BrowserState, asking: Asking, showing: Showing, example: str) -> list[OnLoad]:
    def look(paths: list[str] | None, request: gr.Request) -> tuple[Any, str]:
        return looked_at(Calls.of(url, request), paths)

    def offered(request: gr.Request) -> tuple[Any, ...]:
        calls = Calls.of(url, request)
        return *shown_styles(calls), gr.update(choices=[NO_LORA, *((name, name) for name in calls.loras())])

    def picked(event: gr.SelectData, request: gr.Request) -> str:
        found = [one for one in Calls.of(url, request).styles() if one["preview"]]
        return str(found[int(event.index)]["name"])

    def taken(path: str | None, there: list[str] | None) -> list[str] | None:
        return own([*(there or []), path], example) if path else there

    looked = [showing.found, showing.said]
    photos = asking.person.photos
    photos.change(look, [photos], looked, show_progress="hidden", **PRIVATE)
    asking.camera.change(taken, [asking.camera, photos], [photos], **PRIVATE)
    asking.looks.select(picked, None, [asking.style], **AT_ONCE)
    connect(known, [asking.person], example=example)
    return [(look, [photos], looked), (offered, [], [asking.looks, asking.style, asking.form.lora])]


def stop(calls: Calls, job: Job | None) -> str:
    """Cancels it; its state then."""
    if job is None:
        return ""
    calls.delete(str(job["kind"]), str(job["id"]))
    return bar(calls.job(str(job["kind"]), str(job["id"])))

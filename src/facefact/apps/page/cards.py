"""People: identity cards, which the browser keeps (encrypted); the service keeps none of them."""

from __future__ import annotations

import base64
import html
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import gradio as gr

from facefact.apps.page.calls import Calls
from facefact.apps.page.look import CARDS
from facefact.apps.page.working import PRIVATE, folder, refuse_nobody

NOBODY = "the photos above"
LASTING = {"in a month": 30, "in half a year": 182, "in a year": 365, "never": 0}
MOST = 20  # cards in a browser: its memory for a page is a few megabytes

People = list[dict[str, str]]


def tab(url: str, known: gr.BrowserState) -> None:
    """Lays the tab out and connects it. known: the browser's saved people."""
    gr.Markdown(CARDS)
    with gr.Row():
        with gr.Column():
            photos = gr.File(
                label="Photos of one person",
                file_count="multiple",
                file_types=["image"],
                type="filepath",
                height=140,
                elem_id="card-photos",
            )
            name = gr.Textbox(label="Name", max_length=60, elem_id="card-name")
            consent = gr.Textbox(
                label="What they agreed to", max_length=500, placeholder="for our garden party's invitation, until June"
            )
            expires = gr.Radio(list(LASTING), value="in half a year", label="It expires")
            thumbnail = gr.Checkbox(label="Put a small picture of the face into it")
            make = gr.Button("Save this person", variant="primary", elem_id="card-make")
            said = gr.HTML()
        with gr.Column():
            listed = gr.HTML(elem_id="people")
            chosen = gr.Dropdown([], label="Somebody you saved", interactive=True)
            with gr.Row():
                show = gr.Button("Download the card")
                delete = gr.Button("Delete", variant="stop")
            file = gr.File(label="The card: a file for the command line, Python, another machine", interactive=False)
            come = gr.File(label="Bring a card back", file_types=[".safetensors"], type="filepath", height=90)

    def saved(
        paths: Any, called: str, agreed: str, until: str, small: bool, people: Any, request: gr.Request
    ) -> tuple[People, str]:
        called = _new_name(called, people)
        last = str(date.today() + timedelta(days=LASTING[until])) if LASTING[until] else ""
        fields = {"name": called, "consent": agreed, "thumbnail": small, "expires": last}
        content = Calls.of(url, request).card(refuse_nobody(paths), fields)
        about = f'<div class="said" role="status">{html.escape(called)} is saved in this browser.</div>'
        return [*(people or []), _entry(called, content, last, agreed)], about

    make.click(saved, [photos, name, consent, expires, thumbnail, known], [known, said], **PRIVATE)
    delete.click(
        lambda who, people: [one for one in people or [] if one["name"] != who], [chosen, known], [known], **PRIVATE
    )
    show.click(lambda who, people: paths_of(who, people)[0] if who else None, [chosen, known], [file], **PRIVATE)
    come.upload(brought, [come, known], [known], **PRIVATE)
    known.change(lambda people: (table(people), _names(people)), [known], [listed, chosen], **PRIVATE)


def brought(path: str | None, people: Any) -> People:
    """With the card of a file. gr.Error: it is none."""
    from facefact.encoder import load_card
    from facefact.types import UserError

    if path is None:
        return list(people or [])
    try:
        card = load_card(path)
    except UserError as error:
        raise gr.Error(str(error).replace(str(path), "this file"), print_exception=False) from None
    called = _new_name(card.name or "somebody", people)
    until = str(card.expires) if card.expires else ""
    return [*(people or []), _entry(called, Path(path).read_bytes(), until, card.consent)]


def paths_of(who: str, people: Any) -> list[str]:
    """The card as a file, for a job. gr.Error: there is no such person, or the card has expired."""
    one = next((one for one in people or [] if one["name"] == who), None)
    if one is None:
        raise gr.Error(f"{who} is not saved in this browser", print_exception=False)
    if one["expires"] and one["expires"] < str(date.today()):
        raise gr.Error(
            f"the card of {who} expired on {one['expires']}: delete it, or make a new one", print_exception=False
        )
    path = folder() / "card.safetensors"
    path.touch(mode=0o600)
    path.write_bytes(base64.b64decode(one["card"]))
    return [str(path)]


def choices(people: Any) -> Any:
    """For the list of who may be taken in the place of photos."""
    return gr.update(choices=[NOBODY, *(one["name"] for one in people or [])])


def table(people: Any) -> str:
    if not people:
        return '<p class="small">Nobody is saved in this browser yet.</p>'
    rows = "".join(
        f"<tr><td>{html.escape(one['name'])}</td><td>{html.escape(one['expires'] or 'never')}</td>"
        f"<td>{html.escape(one['consent'] or '-')}</td></tr>"
        for one in people
    )
    return (
        '<div class="jobs"><table><caption class="small">Saved in this browser</caption>'
        f"<tr><th>who</th><th>expires</th><th>agreed to</th></tr>{rows}</table></div>"
    )


def _names(people: Any) -> Any:
    names = [one["name"] for one in people or []]
    return gr.update(choices=names, value=names[-1] if names else None)


def _new_name(called: str, people: Any) -> str:
    called = called.strip()
    if not called:
        raise gr.Error("Give the person a name, to find them again.", print_exception=False)
    if len(people or []) >= MOST:
        raise gr.Error(f"{MOST} people are saved already: delete somebody first", print_exception=False)
    names = {one["name"] for one in people or []} | {NOBODY}
    return (
        called if called not in names else next(f"{called} {i}" for i in range(2, 999) if f"{called} {i}" not in names)
    )


def _entry(name: str, content: bytes, expires: str, consent: str) -> dict[str, str]:
    return {"name": name, "card": base64.b64encode(content).decode(), "expires": expires, "consent": consent}

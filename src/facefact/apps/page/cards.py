"""People: identity cards, which the browser keeps (encrypted); the service keeps none of them."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import gradio as gr

from facefact.apps.page.calls import Calls
from facefact.apps.page.look import CARDS
from facefact.apps.page.working import PRIVATE, folder, refuse_nobody

LASTING = {"in a month": 30, "in half a year": 182, "in a year": 365, "never": 0}
NOBODY = "the photos above"
MOST = 20  # cards in a browser: its memory for a page is a few megabytes

People = list[dict[str, str]]


@dataclass
class Making:
    """The left column: photos and what is to be known of the person."""

    photos: gr.File
    name: gr.Textbox
    consent: gr.Textbox
    expires: gr.Radio
    thumbnail: gr.Checkbox
    make: gr.Button
    said: gr.HTML


@dataclass
class Keeping:
    """The right column: who is saved, and what may be done with them."""

    listed: gr.HTML
    chosen: gr.Dropdown
    look: gr.Button
    show: gr.Button
    delete: gr.Button
    seen: gr.HTML
    file: gr.File
    several: gr.Dropdown
    more: gr.File
    merge: gr.Button
    merged: gr.HTML
    come: gr.File


def tab(url: str, known: gr.BrowserState) -> None:
    """Lays the tab out and connects it. known: the browser's saved people."""
    gr.Markdown(CARDS)
    with gr.Row():
        with gr.Column():
            making = _making()
        with gr.Column():
            keeping = _keeping()
    _connect_making(url, known, making)
    _connect_keeping(url, known, keeping)


def _making() -> Making:
    return Making(
        photos=gr.File(
            label="Photos of one person",
            file_count="multiple",
            file_types=["image"],
            type="filepath",
            height=140,
            elem_id="card-photos",
        ),
        name=gr.Textbox(label="Name", max_length=60, elem_id="card-name"),
        consent=gr.Textbox(
            label="What they agreed to", max_length=500, placeholder="for our garden party's invitation, until June"
        ),
        expires=gr.Radio(list(LASTING), value="in half a year", label="It expires"),
        thumbnail=gr.Checkbox(label="Put a small picture of the face into it"),
        make=gr.Button("Save this person", variant="primary", elem_id="card-make"),
        said=gr.HTML(),
    )


def _keeping() -> Keeping:
    listed = gr.HTML(elem_id="people")
    chosen = gr.Dropdown([], label="Somebody you saved", interactive=True, elem_id="somebody")
    with gr.Row():
        look = gr.Button("Look", elem_id="card-look")
        show = gr.Button("Download the card")
        delete = gr.Button("Delete", variant="stop", elem_id="card-delete")
    seen = gr.HTML(elem_id="card-seen")
    about = "The card: a file for the command line, Python, another machine"
    file = gr.File(label=about, interactive=False, visible=False, elem_id="card-file")
    with gr.Accordion("More photos of somebody, or two cards of one person", open=False):
        several = gr.Dropdown([], label="Cards to merge", multiselect=True, interactive=True, elem_id="several")
        more = gr.File(
            label="And more photos of them",
            file_count="multiple",
            file_types=["image"],
            type="filepath",
            height=110,
            elem_id="more-photos",
        )
        merge = gr.Button("Merge into one card", elem_id="card-merge")
        merged = gr.HTML()
    come = gr.File(label="Bring a card back", file_types=[".safetensors"], type="filepath", height=110)
    return Keeping(listed, chosen, look, show, delete, seen, file, several, more, merge, merged, come)


def _connect_making(url: str, known: gr.BrowserState, making: Making) -> None:
    def saved(
        paths: Any, called: str, agreed: str, until: str, small: bool, people: Any, request: gr.Request
    ) -> tuple[People, str]:
        called = _new_name(called, people)
        last = str(date.today() + timedelta(days=LASTING[until])) if LASTING[until] else ""
        fields = {"name": called, "consent": agreed, "thumbnail": small, "expires": last}
        content = Calls.of(url, request).card(refuse_nobody(paths), fields)
        return [*(people or []), _entry(called, content, last, agreed)], _said(f"{called} is saved in this browser.")

    settings = [making.photos, making.name, making.consent, making.expires, making.thumbnail, known]
    making.make.click(saved, settings, [known, making.said], **PRIVATE)


def _connect_keeping(url: str, known: gr.BrowserState, keeping: Keeping) -> None:
    def merged(names: Any, paths: Any, people: Any, request: gr.Request) -> tuple[People, str]:
        return merged_into(Calls.of(url, request), names or [], paths or [], people)

    def looked(who: str | None, people: Any, request: gr.Request) -> str:
        one = _of(who, people)
        return described(one, Calls.of(url, request).look(base64.b64decode(one["card"])))

    def shown(who: str | None, people: Any) -> Any:
        return gr.update(value=paths_of(who, people)[0], visible=True)

    def deleted(who: str | None, people: Any) -> People:
        return [one for one in people or [] if one["name"] != who]

    def came(path: str | None, people: Any, request: gr.Request) -> People:
        return brought(Calls.of(url, request), path, people)

    one = [keeping.chosen, known]
    keeping.look.click(looked, one, [keeping.seen], **PRIVATE)
    keeping.show.click(shown, one, [keeping.file], **PRIVATE)
    keeping.delete.click(deleted, one, [known], **PRIVATE)
    keeping.merge.click(merged, [keeping.several, keeping.more, known], [known, keeping.merged], **PRIVATE)
    keeping.come.upload(came, [keeping.come, known], [known], **PRIVATE)
    renewed = [keeping.listed, keeping.chosen, keeping.several, keeping.seen]
    known.change(lambda people: (table(people), *_names(people), ""), [known], renewed, **PRIVATE)


def merged_into(calls: Calls, names: list[str], photos: list[str], people: Any) -> tuple[People, str]:
    """With one card of all that was chosen, beside those that it was made of. gr.Error: too little was chosen."""
    if not names or len(names) + bool(photos) < 2:
        raise gr.Error(
            "Choose two cards of one person, or one card and more photos of that person.", print_exception=False
        )
    olds = [_of(name, people) for name in names]
    cards = [Path(paths_of(name, people)[0]).read_bytes() for name in names]
    if photos:
        cards.append(calls.card(photos, {"name": names[0]}))
    content = calls.merge(cards)
    about = calls.look(content)
    called = _new_name(names[0], people)
    count = len(about["sources"])
    line = f"{called} has {count} photos now. The cards that it was made of are still there: delete what you need not."
    agreed = next((one["consent"] for one in olds if one["consent"]), "")
    return [*(people or []), _entry(called, content, about["expires"] or "", about["consent"] or agreed)], _said(line)


def described(one: dict[str, str], card: dict[str, Any]) -> str:
    """What a card says, as HTML. one: as the browser has it. card: as the service reads it."""
    kinds = {"photo": "a photo", "avatar": "an avatar", "drawn": "the avatar that stands in for photos"}
    lines = [
        f"{kinds.get(source['kind'], 'nobody real, mixed from cards')}: {_quality(source['quality'])}, "
        f"{_looking(source['pose'])}"
        for source in card["sources"]
    ]
    until = "it does not expire" if card["expires"] is None else f"it counts until {card['expires']}"
    until = f"it EXPIRED on {card['expires']}: ask the person, and make another" if card["expired"] else until
    fits = "" if card["fits"] else "<li>made with another model's face encoder: it cannot be used here</li>"
    size = len(base64.b64decode(one["card"])) / 1e3
    rows = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    shown = f'<img alt="the face on the card" src="data:image/jpeg;base64,{card["thumbnail"]}">'
    return (
        f'<div class="said card" role="status">{shown if card["thumbnail"] else ""}<strong>{html.escape(one["name"])}'
        f"</strong>, {size:.0f} kB, made on {card['made']}; {until}<ul>{rows}{fits}<li>agreed to: "
        f"{html.escape(card['consent'] or 'nothing is noted')}</li></ul></div>"
    )


def _quality(quality: float) -> str:
    return next(words for least, words in ((0.7, "good"), (0.4, "fair"), (0.0, "poor")) if quality >= least)


def _looking(pose: dict[str, float]) -> str:
    """yaw: in degrees."""
    yaw = pose["yaw"]
    return "facing forward" if abs(yaw) < 15 else f"turned by {abs(yaw):.0f} degrees"


def _said(line: str) -> str:
    return f'<div class="said" role="status">{html.escape(line)}</div>'


def _of(who: str | None, people: Any) -> dict[str, str]:
    """gr.Error: there is no such person."""
    one: dict[str, str] | None = next((one for one in people or [] if one["name"] == who), None)
    if one is None:
        raise gr.Error("Choose somebody who is saved in this browser.", print_exception=False)
    return one


def brought(calls: Calls, path: str | None, people: Any) -> People:
    """With the card of a file. gr.Error: it is none, or it has expired."""
    if path is None:
        return list(people or [])
    content = Path(path).read_bytes()
    card = calls.look(content)
    if card["expired"]:
        raise gr.Error(
            f"This card expired on {card['expires']}: ask the person, and make another.", print_exception=False
        )
    called = _new_name(card["name"] or "somebody", people)
    return [*(people or []), _entry(called, content, card["expires"] or "", card["consent"])]


def paths_of(who: str | None, people: Any) -> list[str]:
    """The card as a file, for a job. gr.Error: there is no such person, or the card has expired."""
    one = _of(who, people)
    if one["expires"] and one["expires"] < str(date.today()):
        raise gr.Error(
            f"the card of {who} expired on {one['expires']}: delete it, or make a new one", print_exception=False
        )
    path = folder() / "card.safetensors"
    path.touch(mode=0o600)
    path.write_bytes(base64.b64decode(one["card"]))
    return [str(path)]


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
    return gr.update(choices=names, value=names[-1] if names else None), gr.update(choices=names, value=[])


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

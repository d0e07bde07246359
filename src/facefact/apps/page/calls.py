"""What the page asks of the service: it is a client of the same jobs as everybody else, with the caller's own key."""

from __future__ import annotations

import base64
import binascii
import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from facefact import client
from facefact.types import UserError

PATHS = {"portrait": "portraits", "template": "templates", "group": "groups"}
FINISHED = ("done", "failed", "cancelled", "expired")
NONE_SUCH = "there is no"  # how the service's line begins where a job has gone
PATIENCE = 5.0  # seconds: somebody sits before the page

Job = dict[str, Any]
Files = Mapping[str, Sequence[str | Path]]
T = TypeVar("T")


class Calls:
    """One caller. url: of the service. key: where it asks for one. Whatever the service refuses becomes a toast
    (gr.Error) with its own line, which says how to mend it."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.client = client.Client(url, key, patience=PATIENCE)

    @classmethod
    def of(cls, url: str, request: gr.Request) -> Calls:
        """With the key that the browser sent."""
        return cls(url, key_in(request.headers.get("authorization", "")))

    def submit(self, kind: str, files: Files, fields: Mapping[str, Any]) -> Job:
        """The job. fields: those that are None or "" are left out."""
        asked = {name: value for name, value in fields.items() if value is not None and value != ""}
        photos = {name: [str(one) for one in several] for name, several in files.items()}
        return toasted(lambda: self.client.submit(PATHS[kind], photos, asked).said)

    def job(self, kind: str, id: str) -> Job | None:
        """None: it has expired, was forgotten, or is another's."""
        try:
            return self.client.job(id, PATHS[kind]).said
        except UserError as error:
            if str(error).startswith(NONE_SUCH):
                return None
            raise toast(error) from None

    def delete(self, kind: str, id: str) -> None:
        """Cancels it, or forgets a finished one with its pictures and photos."""
        if (job := self.job(kind, id)) is None:
            return
        found = client.Job(self.client, job)
        toasted(found.forget if job["state"] in FINISHED else found.cancel)

    def events(self, job: Job) -> Iterator[tuple[str, dict[str, Any]]]:
        """(name, data) as they come, until the job is finished."""
        return client.Job(self.client, job).events()

    def pictures(self, job: Job, folder: Path) -> list[str]:
        """The job's pictures as files, with their recipes inside: Gradio hands files out as they are."""
        return [str(path) for path in toasted(lambda: client.Job(self.client, job).save(folder))]

    def faces(self, photo: str | Path, which: int = 0) -> dict[str, Any]:
        """What is found in a photo, drawn."""
        return toasted(lambda: self.client.faces(str(photo), which=which, draw=True))

    def card(self, photos: Sequence[str | Path], fields: Mapping[str, Any]) -> bytes:
        """An identity card. What speaks against the photos becomes a toast."""
        asked = {name: value for name, value in fields.items() if value != ""}
        warnings: list[str] = []
        card = toasted(lambda: self.client.cards(face=[*map(str, photos)], warnings=warnings, **asked))
        noted(warnings)
        return card

    def merge(self, cards: Sequence[bytes]) -> bytes:
        """One of several. Where they look like two people a toast says so."""
        warnings: list[str] = []
        card = toasted(lambda: self.client.merge(cards, warnings=warnings))
        noted(warnings)
        return card

    def look(self, card: bytes) -> dict[str, Any]:
        """What a card says."""
        return toasted(lambda: self.client.look(card))

    def loras(self) -> list[str]:
        return toasted(self.client.loras)

    def likeness(self, faces: Sequence[str | Path], pictures: Sequence[str | Path]) -> list[dict[str, Any]]:
        """How like the person each picture is, and in words."""
        return toasted(lambda: self.client.likeness(face=[*map(str, faces)], picture=[*map(str, pictures)]))

    def styles(self) -> list[dict[str, Any]]:
        return toasted(self.client.styles)


def noted(warnings: Sequence[str]) -> None:
    for one in warnings:
        gr.Warning(html.escape(one, quote=False))


def toasted(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except UserError as error:
        raise toast(error) from None


def toast(error: UserError) -> gr.Error:
    """Its line, for a toast, which would show HTML."""
    return gr.Error(html.escape(str(error), quote=False), print_exception=False)


def key_in(authorization: str) -> str | None:
    """Of `Bearer KEY`, or the password of `Basic`, which is how a browser asks for one."""
    kind, _, value = authorization.partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2] or None
    except (binascii.Error, UnicodeDecodeError):
        return None

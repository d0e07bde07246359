"""A place for one person: their photos, the file of a card, or somebody who is saved in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from facefact.apps.page.cards import NOBODY, paths_of
from facefact.apps.page.working import AT_ONCE


@dataclass
class Somebody:
    photos: gr.File
    saved: gr.Dropdown

    @property
    def parts(self) -> list[Any]:
        """What an event reads to know who it is: see `faces_of`."""
        return [self.photos, self.saved]


def somebody(label: str, name: str, *, example: str | None = None) -> Somebody:
    """name: its id on the page. example: a picture to begin with."""
    photos = gr.File(
        value=[example] if example else None,
        label=label,
        file_count="multiple",
        file_types=["image", ".safetensors"],
        type="filepath",
        height=120,
        elem_id=name,
    )
    saved = gr.Dropdown([NOBODY], value=NOBODY, label="Or somebody you saved", elem_id=f"{name}-saved")
    return Somebody(photos, saved)


def connect(known: gr.BrowserState, places: Sequence[Somebody], *, example: str | None = None) -> None:
    """Lists in each place who is saved; an example makes room for the first photo of one's own."""

    def listed(people: Any) -> Any:
        updates = [gr.update(choices=[NOBODY, *(one["name"] for one in people or [])]) for _ in places]
        return updates if len(updates) > 1 else updates[0]  # (Gradio takes a list for one output as its value)

    known.change(listed, [known], [one.saved for one in places], **AT_ONCE)
    if example is not None:
        for one in places:
            one.photos.upload(lambda paths: own(paths, example), [one.photos], [one.photos], **AT_ONCE)


def faces_of(photos: Sequence[str] | None, who: str, people: Any) -> list[str]:
    """Files that say who somebody is: the photos, or the card of whom one saved; none for nobody. people: who is
    saved. gr.Error: there is no such person, or the card has expired."""
    return paths_of(who, people) if who != NOBODY else list(photos or [])


def own(photos: Sequence[str] | None, example: str) -> list[str]:
    """The photos without the example, unless it is alone."""
    there, shown = list(photos or []), Path(example).read_bytes()
    return [path for path in there if Path(path).read_bytes() != shown] or there

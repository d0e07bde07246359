"""The pictures of a photo suite, kept as files: what is there is not made again.

    OUT/pictures/<method>/settings.json     what decides about them
    OUT/pictures/<method>/<person>/<prompt>_<number>.png
    OUT/pictures/<method>/-/...             of prompts without a person

The noise is of the prompt and the number alone: all people and methods have the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facefact.checkpoint import replacing
from facefact.evaluate.causal.generators import Generator, Request
from facefact.evaluate.photos.layout import Layout
from facefact.evaluate.pictures import Progress
from facefact.types import UserError

NOBODY = "-"
MANY = 100_000  # seeds of prompts without a person begin so much later


@dataclass(frozen=True)
class Wanted:
    """person: an index, -1 for nobody. prompt: an index in its list. number: of the pictures of one prompt."""

    person: int
    prompt: int
    number: int
    request: Request

    def path(self, layout: Layout) -> Path:
        name = NOBODY if self.person < 0 else layout.people[self.person].name
        return Path(name) / f"{self.prompt:02d}_{self.number}.png"


@dataclass(frozen=True)
class Stored(Sequence[np.ndarray]):
    """Pictures as files: each is read when it is asked for, (h, w, 3) uint8."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        with Image.open(self.paths[place]) as image:
            return np.asarray(image.convert("RGB"))


def wanted(layout: Layout, *, each: int, seed: int) -> list[Wanted]:
    """`each` pictures of every person and prompt, prompt by prompt."""
    return [
        Wanted(person, i, k, Request((who.photos[0].picture,), prompt, seed + i * each + k))
        for i, prompt in enumerate(layout.prompts)
        for person, who in enumerate(layout.people)
        for k in range(each)
    ]


def without_anybody(layout: Layout, *, each: int, seed: int) -> list[Wanted]:
    return [
        Wanted(-1, i, k, Request((), prompt, seed + MANY + i * each + k))
        for i, prompt in enumerate(layout.without)
        for k in range(each)
    ]


def pictures(
    generator: Generator,
    asked: Sequence[Wanted],
    layout: Layout,
    folder: Path,
    decides: Mapping[str, Any],
    *,
    at_once: int,
    progress: Progress | None = None,
) -> Stored:
    """What lacks is made first, `at_once` at a time. UserError: the folder
    holds pictures that other settings decided about."""
    home = folder / folder_name(generator.name)
    settled(home, decides)
    lacking = [one for one in asked if not (home / one.path(layout)).is_file()]
    for first in range(0, len(lacking), at_once):
        part = lacking[first : first + at_once]
        for one, made in zip(part, generator([one.request for one in part]), strict=True):
            path = home / one.path(layout)
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                Image.fromarray(made).save(temporary, format="PNG")
        if progress:
            progress(generator.name, len(asked) - len(lacking) + first + len(part), len(asked))
    return Stored(tuple(home / one.path(layout) for one in asked))


def settled(home: Path, decides: Mapping[str, Any]) -> None:
    """Note what decides about a folder's pictures. UserError: something else did."""
    path = home / "settings.json"
    text = json.dumps(decides, indent=1, sort_keys=True) + "\n"
    if path.is_file():
        if path.read_text(encoding="utf-8") != text:
            raise UserError(f"{home} holds pictures of other settings (its settings.json): name another --out")
        return
    home.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def folder_name(method: str) -> str:
    return re.sub(r"[^\w.-]+", "_", method)

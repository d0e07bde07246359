"""The layout of a photo suite: a folder of photos for each person, and prompts in text files.

SUITE/people/ada/*.jpg      the first by name is the reference; the others say how alike true photos are
SUITE/prompts.txt           one prompt a line, about one person; without it `PROMPTS`
SUITE/without.txt           may lack: prompts that show nobody, for preservation
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facefact.evaluate.pictures import Progress
from facefact.faces import Detector
from facefact.faces.choice import checked_face
from facefact.faces.files import is_nothing, is_picture
from facefact.faces.picture import open_picture
from facefact.types import Face, UserError

FEWEST = 2  # people: one alone is always the most alike
# Forty: ten of expression and pose, of clothes, of places, and of styles and light.
PROMPTS = tuple(
    f"a portrait of a person {words}"
    for words in (
        "smiling",
        "laughing with closed eyes",
        "looking serious",
        "looking surprised",
        "crying",
        "looking to the left",
        "looking up",
        "seen in profile",
        "with a hand on the chin",
        "shouting",
        "in a red coat",
        "in a black suit and tie",
        "in a white doctor's coat",
        "in a knitted green jumper",
        "in a space suit",
        "wearing a straw hat",
        "wearing glasses with thick frames",
        "wearing headphones",
        "wearing a knight's armour",
        "with a scarf around the neck",
        "at the beach",
        "in a snowy forest",
        "in a library",
        "on a bicycle in the city",
        "in a kitchen, cooking",
        "on a mountain top at sunrise",
        "in a crowded market",
        "in front of the Eiffel Tower",
        "under water",
        "on a stage with a microphone",
        "as an oil painting",
        "as a pencil sketch",
        "as a watercolour",
        "as a marble statue",
        "as a comic hero",
        "in black and white",
        "at night under neon lights",
        "lit by a candle",
        "with blue hair",
        "with a long white beard",
    )
)


@dataclass(frozen=True)
class Photo:
    """picture: (h, w, 3) uint8. face: the one that counts."""

    picture: np.ndarray
    face: Face


@dataclass(frozen=True)
class Person:
    """photos: the first is the reference."""

    name: str
    photos: tuple[Photo, ...]


@dataclass(frozen=True)
class Layout:
    """skipped: photos without a usable face, and why."""

    people: tuple[Person, ...]
    prompts: tuple[str, ...]
    without: tuple[str, ...]
    skipped: tuple[str, ...]


def read_layout(
    folder: Path,
    detector: Detector,
    *,
    people: int = 15,
    prompts: int = 40,
    photos: int = 6,
    progress: Progress | None = None,
) -> Layout:
    """The first `people` of them by name with a usable photo, the first `photos` of each, the first `prompts` lines of
    prompts.txt.
    UserError: it is no such folder, or holds too little."""
    home = folder / "people"
    if not home.is_dir():
        raise UserError(f"{folder} has no folder people: it is to hold a folder of photos for each person")
    found: list[Person] = []
    skipped: list[str] = []
    for one in sorted(path for path in home.iterdir() if path.is_dir() and not is_nothing(path.name)):
        if len(found) == people:
            break
        read: list[Photo] = []
        for path in sorted(one.iterdir()):
            if len(read) < photos and is_picture(path.name) and not is_nothing(path.name):
                try:
                    picture = open_picture(path)
                    read.append(Photo(picture, checked_face(detector.detect(picture))))
                except UserError as error:
                    skipped.append(f"{one.name}/{path.name}: {error}")
        if read:
            found.append(Person(one.name, tuple(read)))
            if progress:
                progress("people", len(found), people)
    if len(found) < FEWEST:
        raise UserError(f"{home} has usable photos of {len(found)} people; {FEWEST} are needed, a folder for each")
    asked = lines(folder / "prompts.txt")
    return Layout(
        tuple(found),
        (PROMPTS if asked is None else asked)[:prompts],
        lines(folder / "without.txt") or (),
        tuple(skipped),
    )


def lines(path: Path) -> tuple[str, ...] | None:
    """Those that are neither empty nor begin with #; None where there is no such file. UserError: it has none."""
    if not path.exists():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a text: {error}") from error
    found = tuple(line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))
    if not found:
        raise UserError(f"{path} holds no prompt: write one a line, or remove the file")
    return found

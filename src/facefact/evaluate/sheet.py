"""The contact sheet: one row a person, from the lightest skin to the darkest; one column a prompt, the reference
picture first."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facefact.checkpoint import replacing
from facefact.evaluate.protocol import Case, Protocol
from facefact.world import Person, caption, first_held_out, look, person, render

# What each column changes: expression, hair, glasses, hat, clothes, scene, pose.
COLUMNS: tuple[tuple[str, dict[str, str]], ...] = (
    ("laughing", {"expression": "laughing"}),
    ("sad", {"expression": "sad"}),
    ("long blue hair", {"hair": "long", "hair_colour": "blue"}),
    ("curly red hair", {"hair": "curly", "hair_colour": "red"}),
    ("round glasses", {"glasses": "round"}),
    ("a straw hat", {"hat": "straw"}),
    ("red suit, city", {"clothes": "suit", "clothes_colour": "red", "scene": "city"}),
    ("night, turned left", {"scene": "night", "pose": "left"}),
)
PLAIN = {
    "hair": "short",
    "hair_colour": "brown",
    "expression": "neutral",
    "pose": "front",
    "glasses": "none",
    "hat": "none",
    "clothes": "sweater",
    "clothes_colour": "green",
    "scene": "forest",
    "light": "day",
}
REFERENCE = {"glasses": "none", "hat": "none", "pose": "front", "light": "day"}


MAGNIFIED = 2  # pixels of a side of the sheet for one of a picture


def sheet_protocol(seed: int, *, people: int = 6) -> Protocol:
    """Held-out people of all skins with one plain reference each, and one case per column."""
    first = first_held_out(seed) + 500_000
    who = all_skins(first, people)
    looks = tuple(look(one.seed, **REFERENCE) for one in who)
    wanted = [look(first + j, **(PLAIN | change)) for j, (_, change) in enumerate(COLUMNS)]
    cases = tuple(
        Case(own, one, caption(one), 1000 * seed + j) for own in range(people) for j, one in enumerate(wanted)
    )
    return Protocol(who, looks, tuple(render(one, shown) for one, shown in zip(who, looks, strict=True)), cases)


def all_skins(first: int, people: int) -> tuple[Person, ...]:
    """So many people from the seed `first` on, one from each equal part of the range of skins, light to dark: in each
    part the first one that there is."""
    parts: dict[int, Person] = {}
    seeds = itertools.count(first)
    while len(parts) < people:
        who = person(next(seeds))
        parts.setdefault(min(int((who["skin_tone"] + 1) / 2 * people), people - 1), who)
    return tuple(parts[part] for part in range(people))


def contact_sheet(
    title: str,
    references: Sequence[np.ndarray],
    pictures: np.ndarray,
    *,
    magnified: int = MAGNIFIED,
) -> Image.Image:
    """references: one (s, s, 3) uint8 per row. pictures: (rows * columns, s, s, 3), row by row. magnified: pixels of a
    side of the sheet for one of a picture, everything on it included."""
    rows, size = len(references), magnified * pictures.shape[1]
    columns = len(pictures) // rows
    font = ImageFont.load_default(size=13 * magnified)
    gap, header = 6 * magnified, 48 * magnified
    step = size + gap
    sheet = Image.new("RGB", (gap + step * (columns + 1) + gap, header + step * rows + gap), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((gap, 4 * magnified), title, fill="black", font=ImageFont.load_default(size=16 * magnified))
    for column, label in enumerate(["reference", *(name for name, _ in COLUMNS)][: columns + 1]):
        pen.text((gap + step * column + (gap if column else 0), 28 * magnified), label, fill="#555555", font=font)
    for row, reference in enumerate(references):
        y = header + step * row
        sheet.paste(enlarged(reference, size), (gap, y))
        for column in range(columns):
            sheet.paste(enlarged(pictures[row * columns + column], size), (2 * gap + step * (column + 1), y))
    return sheet


def enlarged(picture: np.ndarray, size: int) -> Image.Image:
    """(s, s, 3) uint8 -> size x size."""
    return Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both


def write_rows(path: Path, heads: Sequence[str], rows: Sequence[Sequence[np.ndarray]], *, cell: int) -> None:
    """A PNG file with pictures (h, w, 3) uint8 in rows under their heads, each in a square of so many pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        named_rows(heads, [("", pictures) for pictures in rows], cell=cell).save(temporary, format="png")


def named_rows(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[np.ndarray]]], *, cell: int) -> Image.Image:
    """Pictures (h, w, 3) uint8 under their heads, each row with its name at its left, each picture in a square of so
    many pixels."""
    font, top = ImageFont.load_default(size=11), 20
    left = max(int(font.getlength(name)) + 8 if name else 0 for name, _ in rows)
    made = Image.new("RGB", (left + cell * len(heads), top + cell * len(rows)), "white")
    pen = ImageDraw.Draw(made)
    for column, head in enumerate(heads):
        pen.text((left + cell * column + 4, 4), head.replace("_", " "), fill="black", font=font)
    for row, (name, pictures) in enumerate(rows):
        pen.text((4, top + cell * row + cell // 2), name, fill="black", font=font)
        for column, picture in enumerate(pictures):
            made.paste(enlarged(picture, cell), (left + cell * column, top + cell * row))
    return made

"""The contact sheet of a validation: the base model's row, then one row a person, one column a prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL, GAP, STRIP = 256, 8, 20  # pixels: of a picture's side, between two, of the words below one
LINES, LINE = 5, 15  # of a prompt above its column
INK, PALE = "#1b1b1b", "#5b5b5b"


def validation_sheet(
    title: str,
    prompts: Sequence[str],
    base: np.ndarray,
    references: Sequence[np.ndarray],
    pictures: np.ndarray,
    captions: Sequence[Sequence[str]],
) -> Image.Image:
    """base: (prompts, s, s, 3) uint8. references: one (r, r, 3) uint8 a person. pictures: (people, prompts, s, s, 3).
    captions: of each person, what is written below the reference and below each picture."""
    font, small, large = (ImageFont.load_default(size=size) for size in (13, 12, 17))
    step, header = CELL + GAP, 34 + LINES * LINE
    rows = 1 + len(references)
    sheet = Image.new("RGB", (GAP + step * (1 + len(prompts)), header + rows * (step + STRIP)), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, 6), shortened(title, large, sheet.width - 2 * GAP), fill=INK, font=large)
    for column, prompt in enumerate(prompts):
        lines = wrapped(prompt, small, CELL, LINES)
        top = header - 6 - LINE * len(lines)
        for row, line in enumerate(lines):
            pen.text((GAP + step * (column + 1), top + LINE * row), line, fill=PALE, font=small)

    def put(row: int, column: int, picture: np.ndarray | None, below: str) -> None:
        x, y = GAP + step * column, header + row * (step + STRIP)
        if picture is not None:
            sheet.paste(Image.fromarray(picture).resize((CELL, CELL), Image.Resampling.LANCZOS), (x, y))
        pen.text((x, y + CELL + 3), shortened(below, font, CELL), fill=PALE, font=font)

    pen.text((GAP, header + CELL // 2 - 20), "base model,\nthe same seeds", fill=PALE, font=large)
    for column, picture in enumerate(base):
        put(0, column + 1, picture, "")
    for row, (reference, made, below) in enumerate(zip(references, pictures, captions, strict=True), start=1):
        for column, (picture, text) in enumerate(zip([reference, *made], below, strict=True)):
            put(row, column, picture, text)
    return sheet


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, lines: int) -> list[str]:
    """The text in at most so many lines of at most so many pixels; what is left over ends in an ellipsis."""
    found = [""]
    for word in text.split():
        longer = f"{found[-1]} {word}".strip()
        if found[-1] and font.getlength(longer) > width:
            found.append(word)
        else:
            found[-1] = longer
    if len(found) > lines:
        found = [*found[: lines - 1], " ".join(found[lines - 1 :])]
    return [shortened(line, font, width) for line in found]


def shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, cut with an ellipsis where it is wider than so many pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."

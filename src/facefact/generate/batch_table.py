"""A table of jobs, one row a person and a prompt: JSON lines, CSV or Parquet, read strictly.

A mistake in a column's name concerns every row, and refuses the table; any other mistake is its row's alone.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from facefact.config import from_tree
from facefact.data.tables import arrow, read_rows
from facefact.generate.demo_model import settings_for
from facefact.generate.style_file import Style
from facefact.generate.styles import apply, check_fits, find_style, origin_of
from facefact.generate.text_to_image import Settings
from facefact.types import UserError

FORMS = (".jsonl", ".csv", ".parquet")
SEPARATOR = ";"  # between the photos of a CSV's cell
NOT_IN_NAMES = re.compile(r'[\x00-\x1f<>:"/\\|?*]')
LONGEST_ID = 100  # characters
WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What a row may say. face: a photo, or several of one person. count: how many pictures, of consecutive seeds.
    which: which face of each photo, 0 is the largest. size: width and height. style: its name, or its file. The others
    are those of `Settings`."""

    face: str | list[str]
    prompt: str | None = None
    id: str | int | None = None
    count: int | None = None
    which: int | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    steps: int | None = None
    scale: float | None = None
    guidance_scale: float | None = None
    face_guidance: bool | None = None
    start: float | None = None
    end: float | None = None
    local: bool | None = None
    size: int | None = None
    width: int | None = None
    height: int | None = None
    control_image: str | None = None
    control_scale: float | None = None
    style: str | None = None


COLUMNS = tuple(field.name for field in fields(Columns))
WHOLE = ("count", "which", "seed", "steps", "size", "width", "height")
NOT_SETTINGS = ("face", "id", "count", "which", "size", "control_image", "style")


@dataclass(frozen=True)
class Row:
    """A row that makes sense. number: from 1. settings: of the first picture, without the control image, which lies at
    its path. origin: what recipes say of it besides."""

    number: int
    id: str
    faces: tuple[Path, ...]
    settings: Settings
    count: int = 1
    which: int = 0
    control_image: Path | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BadRow:
    """A row that makes none. error: one line that says why."""

    number: int
    id: str
    error: str


def read_table(path: str | Path, *, model: str, common: Mapping[str, Any] | None = None) -> list[Row | BadRow]:
    """The rows, in their order. Paths are relative to the table's folder.

    model: whose own defaults count where nothing else is said. common: values of columns for the rows that have none.
    UserError: no such file, another kind of file, damaged, empty, a column that nobody knows, two rows of one id.
    """
    path, shared = Path(path), {name: value for name, value in (common or {}).items() if value is not None}
    found: list[Row | BadRow] = []
    ids: dict[str, int] = {}
    for number, line in enumerate(_lines(path), 1):
        _check_columns(path, number, line)
        values = {name: value for name, value in line.items() if value is not None}
        name = str(values.get("id", f"row-{number}"))
        try:
            _check_id(name)
            row: Row | BadRow = _row(number, name, values, shared, path.absolute().parent, model)
        except UserError as error:
            row = BadRow(number, name, str(error))
        before = ids.setdefault(name.casefold(), number)
        if before != number:
            raise UserError(f"{path}: rows {before} and {number} have the same id {name!r}: their files would too")
        found.append(row)
    if not found:
        raise UserError(f"{path} has no rows: nothing is to be made")
    return found


def _row(number: int, name: str, values: Mapping[str, Any], shared: Mapping[str, Any], folder: Path, model: str) -> Row:
    typed = from_tree(Columns, {**shared, **values})
    given = {one: getattr(typed, one) for one in COLUMNS if one not in NOT_SETTINGS}
    if unfinite := [one for one, value in given.items() if isinstance(value, float) and not math.isfinite(value)]:
        raise UserError(f"{unfinite[0]} is {given[unfinite[0]]}, no finite number")
    for side in ("width", "height"):
        given[side] = typed.size if given[side] is None else given[side]
    style = None if typed.style is None else _style(typed.style, model, shared.get("style"))
    if not (typed.prompt or "").strip() and style is None:
        raise UserError("the row has no prompt: fill its cell, or give --prompt for all rows")
    if style is not None:
        given = apply(style, given)
    count, which = 1 if typed.count is None else typed.count, typed.which or 0
    if count < 1 or which < 0:
        raise UserError(f"count is {count} and which is {which}: from 1, and from 0")
    faces = [typed.face] if isinstance(typed.face, str) else typed.face
    if not faces or not all(faces):
        raise UserError("the row has no face: name at least one photo")
    settings = settings_for(model, Settings, **given)
    control = None if typed.control_image is None else folder / typed.control_image
    origin = {} if style is None else origin_of(style)
    return Row(number, name, tuple(folder / face for face in faces), settings, count, which, control, origin)


def _style(name: str, model: str, of_all: str | None) -> Style:
    """UserError: there is none, it is for other models, or it would change the model for all rows."""
    style = find_style(name)
    check_fits(style, model=model)
    if style.lora is not None and name != of_all:
        raise UserError(f"the style {name} has a LoRA, and the model is one for all rows: give it with --style for all")
    return style


def _check_columns(path: Path, number: int, line: Mapping[str, Any]) -> None:
    for name in line:
        if name not in COLUMNS:
            near = get_close_matches(str(name), COLUMNS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COLUMNS)}"
            raise UserError(f"{path}, row {number}: nobody knows the column {name!r}; {hint}")


def _check_id(name: str) -> None:
    """It begins a file's name on every system."""
    if not name.strip() or name != name.strip() or name.startswith(".") or len(name) > LONGEST_ID:
        raise UserError(
            f"the id {name[:LONGEST_ID]!r} cannot begin a file's name: 1 to {LONGEST_ID} characters, no dot"
        )
    if NOT_IN_NAMES.search(name):
        raise UserError(f"the id {name!r} cannot begin a file's name: it has one of < > : \" / \\ | ? *")


# The three kinds of files


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix.lower() not in FORMS:
        raise UserError(f"{path} is no table of jobs: its name ends with {', '.join(FORMS)}")
    if not path.is_file():
        raise UserError(f"no table of jobs {path}")
    return {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}[path.suffix.lower()](path)


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    for number, text in enumerate(_text(path).split("\n"), 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number} is no JSON: {error}") from error
        if not isinstance(line, dict):
            raise UserError(f"{path}, line {number} is no JSON object such as {{'face': ..., 'prompt': ...}}")
        yield line


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    """With a line of columns' names; an empty cell says nothing."""
    reader = csv.DictReader(_text(path).splitlines(keepends=True), strict=True)
    try:
        for cells in reader:
            if None in cells or None in cells.values():
                raise UserError(f"{path}, line {reader.line_num} has not as many cells as the first")
            yield {name: _cell(name, text) for name, text in cells.items()}
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num} is no CSV: {error}") from error


def _cell(name: str, text: str) -> Any:
    """As the column wants it; what it cannot be stays text, which is refused with the row."""
    text = text.strip()
    if not text:
        return None
    if name == "face":
        return [one.strip() for one in text.split(SEPARATOR) if one.strip()]
    if name in ("local", "face_guidance"):
        return WORDS.get(text.lower(), text)
    if name in WHOLE and re.fullmatch(r"-?[0-9]{1,30}", text):
        return int(text)
    return text


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    pyarrow = arrow()
    try:
        yield from read_rows(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is no Parquet file: {' '.join(str(error).split())}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} as UTF-8 text: {error}") from error

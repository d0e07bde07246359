"""Markdown for pages and cards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from facefact.files import replacing
from facefact.types import UserError


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table without a line break at its end. head: the columns' names. Nothing in a cell ends the cell or the row, or
    is HTML's markup."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")


def put_between(page: Path, mark: str, text: str) -> None:
    """Put the text between the page's marks `<!-- MARK ... -->` and `<!-- /MARK -->`, in the place of what is there.
    UserError: it has none, or cannot be read."""
    try:
        before = page.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{page} cannot be read: {error.strerror}") from error
    block = re.compile(rf"(<!-- {re.escape(mark)}(?: [^\n]*)?-->\n).*?(<!-- /{re.escape(mark)} -->)", re.DOTALL)
    if not block.search(before):
        raise UserError(f"{page} has no marks <!-- {mark} ... --> and <!-- /{mark} --> between which the table goes")
    with replacing(page) as temporary:
        temporary.write_text(block.sub(lambda found: f"{found[1]}{text}\n{found[2]}", before), encoding="utf-8")

"""What an input says of its pictures: their names, whose they are, captions, sources, licences; all of it hostile text
until it has been through here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

FIELDS = {  # ours -> what others call it, the first one that says something counts
    "person": ("person",),
    "caption": ("text", "caption"),
    "source": ("source", "url"),
    "licence": ("licence", "license"),
}
DESCRIBING = ("json", "txt", "caption", "tags")  # suffixes of what describes a picture, believed in this order
MAX_TEXT = 100_000  # bytes of a caption, or of a JSON beside a picture; longer ones are something else


@dataclass(frozen=True)
class Description:
    """One line each, printable; None where there is none."""

    person: str | None = None
    caption: str | None = None
    source: str | None = None
    licence: str | None = None

    def over(self, other: Description) -> Description:
        """What this one does not say, the other one may."""
        return Description(
            self.person or other.person,
            self.caption or other.caption,
            self.source or other.source,
            self.licence or other.licence,
        )


NOTHING = Description()


def description_of(row: Mapping[str, object]) -> Description:
    """The description in a row of metadata, whatever its values are."""
    found = {ours: [one_line(row.get(name)) for name in names] for ours, names in FIELDS.items()}
    return Description(**{ours: next((value for value in values if value), None) for ours, values in found.items()})


def description_in(suffix: str, content: bytes) -> Description:
    """The description in a file of one of the suffixes DESCRIBING."""
    return description_in_json(content) if suffix == "json" else description_in_text(content)


def description_in_json(content: bytes) -> Description:
    """The description in a JSON object; none where it is not one."""
    try:
        row = json.loads(content)
    except (ValueError, RecursionError):
        return NOTHING
    return description_of(row) if isinstance(row, dict) else NOTHING


def description_in_text(content: bytes) -> Description:
    """A caption's file; zero bytes show that it is none, whatever it is called."""
    return NOTHING if b"\0" in content else Description(caption=one_line(content))


def one_line(value: object) -> str | None:
    """Any cell's value as one printable line, None for nothing. Of several captions the first."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    if isinstance(value, bytes):
        value = value.decode("utf-8-sig", errors="replace")
    if value is None or isinstance(value, dict) or (isinstance(value, float) and math.isnan(value)):
        return None
    line = " ".join(str(value).split())
    return "".join(letter for letter in line if letter.isprintable() or letter == ZERO_WIDTH_JOINER) or None


ZERO_WIDTH_JOINER = "\u200d"  # holds emoji together


def printable(name: str) -> str:
    """A file's name as it can be shown and written in UTF-8: what is not printable is escaped.

    Reversible: a backslash becomes two, a byte that is no UTF-8 (as `os.fsdecode` marks it) \\xNN, any other letter
    \\uNNNN or \\UNNNNNNNN.
    """
    return name if name.isprintable() and "\\" not in name else "".join(map(_letter, name))


def _letter(letter: str) -> str:
    code = ord(letter)
    if letter == "\\":
        return "\\\\"
    if letter.isprintable():
        return letter
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

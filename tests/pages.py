"""What tests see of a self-contained page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br"}
INLINE = re.compile(r"data:image/(png|jpeg);base64,[\w+/=]+")


class Page(HTMLParser):
    """Every tag is closed in its order; what the page shows and names is collected.

    rectangles: (class, attributes) of SVG, with the words of its title as attribute `words`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.rectangles: list[dict[str, str | None]] = []
        self.headings: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag == "rect":
            self.rectangles.append(dict(attributes))
        if tag in ("h2", "h3"):
            self.headings.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-2:] == ["rect", "title"]:
            self.rectangles[-1]["words"] = data
        elif self.open and self.open[-1] != "style":
            self.text += data
            if {"h2", "h3"} & set(self.open):
                self.headings[-1] += data

    def needs_nothing(self) -> bool:
        """No script, no frame, no network."""
        foreign = {"script", "link", "iframe", "object", "embed", "base", "foreignobject"} & set(self.tags)
        handlers = [name for name, _ in self.attributes if name.startswith("on")]
        return not foreign and not handlers and all(INLINE.fullmatch(source or "") for source in self.sources)


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))

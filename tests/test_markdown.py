"""Tables of Markdown stay tables, whatever is in them."""

from __future__ import annotations

from facefact.markdown import markdown_table


def test_a_table() -> None:
    assert markdown_table(("", "value"), [("one", 1), ("two", "2.0")]).splitlines() == [
        "|  | value |",
        "| --- | --- |",
        "| one | 1 |",
        "| two | 2.0 |",
    ]


def test_nothing_in_a_cell_ends_it() -> None:
    row = markdown_table(("name",), [("a|b\n<b>c\r\n| d",)]).splitlines()
    assert row[2:] == [r"| a\|b &lt;b>c \| d |"]

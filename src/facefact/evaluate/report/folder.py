"""The three files of a report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from facefact.checkpoint import replacing
from facefact.evaluate.report.record import FILE, Heat, Report, as_json
from facefact.markdown import markdown_table
from facefact.metrics.scores import Figure
from facefact.page import escape, gallery, page, section
from facefact.page import table as plain_table
from facefact.types import UserError

# A click on a column's head sorts by it: the only script, inside the page. Without it the table is read as it stands.
SORT = """
<script>
for (const head of document.querySelectorAll("table.sorts thead th")) {
  head.tabIndex = 0; head.setAttribute("role", "button");
  const sort = () => {
    const at = head.cellIndex, body = head.closest("table").tBodies[0], down = head.dataset.down !== "1";
    head.dataset.down = down ? "1" : "0";
    const key = row => row.cells[at].dataset.value ?? row.cells[at].textContent;
    const order = (a, b) => isNaN(key(a)) || isNaN(key(b)) ? key(a).localeCompare(key(b)) : key(a) - key(b);
    [...body.rows].sort((a, b) => down ? order(b, a) : order(a, b)).forEach(row => body.append(row));
  };
  head.onclick = sort; head.onkeydown = event => { if (event.key === "Enter") sort(); };
}
</script>
<style>
table.sorts thead th { cursor: pointer; } table.sorts td { white-space: nowrap; }
table.heat { font-size: .6rem; border-collapse: separate; border-spacing: 1px; }
table.heat th, table.heat td { border: 0; padding: 0 .15rem; } table.heat td { min-width: .9rem; height: .9rem; }
table.heat thead th { writing-mode: vertical-rl; vertical-align: bottom; }
</style>
"""
NOTHING = "–"


def write_folder(report: Report, folder: Path) -> None:
    """report.json, report.html and report.md; what was there under these names is replaced."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be a folder for the report ({error.strerror})") from error
    written = json.dumps(as_json(report), indent=1) + "\n"
    files = {FILE: written, "report.html": as_page(report), "report.md": as_markdown(report)}
    for name, text in files.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def names_of(report: Report) -> list[str]:
    """Of all figures that any method has, in their order."""
    return list(dict.fromkeys(name for figures in report.methods.values() for name in figures))


def said(one: Figure | None, digits: int = 3) -> str:
    return NOTHING if one is None else f"{one.value:.{digits}f} [{one.low:.{digits}f}, {one.high:.{digits}f}]"


# Markdown, for a model card


def as_markdown(report: Report) -> str:
    """One row a figure, one column a method; in brackets the 95 % intervals."""
    methods = list(report.methods)
    rows = [[name, *(said(report.methods[one].get(name)) for one in methods)] for name in names_of(report)]
    about = "; ".join(f"{key}: {value}" for key, value in report.about.items())
    words = "".join(f"- {key}: {value}\n" for key, value in report.words.items())
    head = f"## {report.suite}\n\n{about}. In brackets 95 % intervals.\n\n"
    return f"{head}{markdown_table(['figure', *methods], rows)}\n" + (f"\n{words}" if words else "")


# HTML


def as_page(report: Report) -> str:
    """One file: tables that sort, matrices in colours, galleries."""
    about = plain_table([(str(key), str(value)) for key, value in report.about.items()])
    parts = [section("What was measured", about)]
    if report.words:
        parts.append(section("What the figures mean", plain_table(list(report.words.items()))))
    parts.append(section("Figures", f'<div class="wide">{figures_content(report)}</div>'))
    if report.matrices:
        heats = "".join(f"<h3>{escape(title)}</h3>{heat_content(one)}" for title, one in report.matrices.items())
        parts.append(section("Matrices", f'<div class="wide">{heats}</div>'))
    parts += [
        section(title, gallery((tile.pixels, tile.name, tile.words) for tile in tiles))
        for title, tiles in report.galleries.items()
    ]
    return page(report.suite, [*parts, SORT])


def figures_content(report: Report) -> str:
    """A table that sorts by any of its columns."""
    methods = list(report.methods)
    rows = []
    for name in names_of(report):
        cells = (report.methods[one].get(name) for one in methods)
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(_cell(one) for one in cells)}</tr>")
    return _sorting(["figure", *methods], rows)


def _cell(one: Figure | None) -> str:
    value = "" if one is None else f' data-value="{one.value:.6g}"'
    return f"<td{value}>{said(one)}</td>"


def _sorting(head: Iterable[str], rows: Iterable[str]) -> str:
    above = "".join(f"<th>{escape(one)}</th>" for one in head)
    return f'<table class="sorts"><thead><tr>{above}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def heat_content(heat: Heat) -> str:
    """Cells in blue (red below 0), the deeper the farther from 0; the number is said where a cell is pointed at."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heat.columns)
    rows = []
    for name, values in zip(heat.rows, heat.values, strict=True):
        cells = "".join(
            _coloured(value, f"{name} → {column}") for value, column in zip(values, heat.columns, strict=True)
        )
        rows.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    return f'<table class="heat"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _coloured(value: float, words: str) -> str:
    if value != value:
        return f'<td title="{escape(words)}: not read"></td>'
    colour = "37 99 235" if value >= 0 else "200 40 40"
    depth = min(1.0, abs(float(value)))
    return f'<td style="background: rgb({colour} / {depth:.2f})" title="{escape(words)}: {value:.2f}"></td>'

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

NOTHING = "–"
# A click on a column's head sorts by it: the only script, inside the page. Without it the table is read as it stands.
SORT = """
<script>
for (const head of document.querySelectorAll("table.sorts thead th")) {
  head.tabIndex = 0; head.setAttribute("role", "button");
  const sort = () => {
    const at = head.cellIndex, body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => row.cells[at].dataset.value ?? row.cells[at].textContent;
    const order = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
    const known = [...body.rows].filter(row => key(row) !== "NOTHING");
    const rest = [...body.rows].filter(row => key(row) === "NOTHING");  // what says nothing stays below
    known.sort((a, b) => down ? order(key(b), key(a)) : order(key(a), key(b)));
    body.append(...known, ...rest);
  };
  head.onclick = sort; head.onkeydown = event => { if (event.key === "Enter") sort(); };
}
</script>
<style>
table.sorts thead th { cursor: pointer; white-space: nowrap; } table.sorts td { white-space: nowrap; }
table.sorts thead th::after { content: " ↕"; opacity: .4; }
table.sorts thead th[aria-sort]::after { opacity: 1; content: " ▲"; }
table.sorts thead th[aria-sort=descending]::after { content: " ▼"; }
.heats { display: flex; flex-wrap: wrap; gap: 0 1.5rem; }
table.heat { font-size: .6rem; line-height: 1; border-collapse: separate; border-spacing: 1px; }
table.heat th, table.heat td { border: 0; padding: 0; font-size: .6rem; }
table.heat td { width: .75rem; min-width: .75rem; height: .75rem; } table.heat td.unread { background: #8886; }
table.heat tbody th { padding-right: .3rem; text-align: right; white-space: nowrap; }
table.heat thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; white-space: nowrap; }
</style>
""".replace("NOTHING", NOTHING)


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
    parts.append(section("Methods", f'<div class="wide">{methods_content(report)}</div>'))
    if report.matrices:
        heats = "".join(
            f"<div><h3>{escape(title)}</h3>{heat_content(one)}</div>" for title, one in report.matrices.items()
        )
        said_of = "Row: what was changed in the reference; column: what changed in the result. Grey: not read."
        words = f'<p class="pale">{said_of}</p>'
        parts.append(section("Matrices", f'{words}<div class="wide"><div class="heats">{heats}</div></div>'))
    parts.append(section("All figures", f'<div class="wide">{figures_content(report)}</div>'))
    parts += [
        section(title, gallery((tile.pixels, tile.name, tile.words) for tile in tiles))
        for title, tiles in report.galleries.items()
    ]
    return page(report.suite, [*parts, SORT])


def methods_content(report: Report) -> str:
    """A row a method, a column for each figure that is of no part: to sort methods by."""
    names = [name for name in names_of(report) if "." not in name] or names_of(report)
    rows = [
        f"<tr><th>{escape(method)}</th>{''.join(_cell(figures.get(name)) for name in names)}</tr>"
        for method, figures in report.methods.items()
    ]
    return _sorting(["method", *names], rows)


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
        return f'<td class="unread" title="{escape(words)}: not read"></td>'
    colour = "37 99 235" if value >= 0 else "200 40 40"
    depth = min(1.0, abs(float(value)))
    return f'<td style="background: rgb({colour} / {depth:.2f})" title="{escape(words)}: {value:.2f}"></td>'

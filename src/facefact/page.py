"""Self-contained HTML pages: style, sections, tables, pictures and charts. What such a page shows is inside it: there
is no script, no network, and it follows the reader's light or dark mode.

Every text is escaped here; names that end in `content` or `sections` are HTML already.
"""

from __future__ import annotations

import base64
import html
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --pale: #626b78; --line: #dfe3e8; --card: #fff; --page: #f5f6f8;
  --bar: #2563eb; --lost: #d97706; --tile: #e9ecf0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --pale: #9aa3af; --line: #353b44; --card: #1f2329; --page: #15181c;
    --bar: #5b8def; --lost: #e0913a; --tile: #2b3038; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 74rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .5rem; overflow-wrap: anywhere; }
h3 small { font-weight: 400; font-size: .85rem; color: var(--pale); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem; margin: 1rem 0; }
p { margin: .4rem 0; }
.pale { color: var(--pale); font-size: .9rem; }
.warning { border-left: 4px solid var(--lost); padding-left: .7rem; font-weight: 600; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem 1rem; margin: 0; }
.facts div { min-width: 0; }
.facts dt { color: var(--pale); font-size: .8rem; }
.facts dd { margin: 0; font-size: 1.1rem; font-weight: 600; overflow-wrap: anywhere; }
.facts small { display: block; font-weight: 400; font-size: .8rem; color: var(--pale); }
img { display: block; max-width: 100%; height: auto; border-radius: 6px; background: #fff; }
.wide { overflow-x: auto; }
.wide img { max-width: none; width: max(100%, 56rem); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: .6rem; }
.plots img { width: 100%; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 1.4rem 1.6rem;
  margin: .6rem 0; }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; font-size: .95rem; }
figcaption small { display: block; font-weight: 400; font-size: .8rem; color: var(--pale); }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .3em 0 .6em; }
svg { display: block; overflow: visible; font-size: 12px; }
svg.columns { width: calc(100% - 3.2rem); margin: .6rem .4rem 0 2.8rem; }
svg.bars { width: 100%; margin-top: .4rem; }
svg text { fill: var(--pale); }
svg text.name { fill: var(--ink); }
svg line { stroke: var(--line); }
svg .bar, .key.bar { fill: var(--bar); background: var(--bar); }
svg .lost, .key.lost { fill: var(--lost); background: var(--lost); }
svg .track { fill: var(--tile); }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .9rem .8rem; }
.gallery img, .gallery .none { width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--tile);
  border-radius: 6px; }
.gallery .none { display: grid; place-items: center; color: var(--pale); font-size: .8rem; }
.gallery figcaption { font-weight: 400; font-size: .78rem; line-height: 1.35; margin-top: .3rem;
  overflow-wrap: anywhere; }
.gallery figcaption small { font-size: 1em; }
table { border-collapse: collapse; font-size: .92rem; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
thead th { color: var(--pale); font-weight: 400; font-size: .85rem; }
.counts td, .counts thead th + th { text-align: right; white-space: nowrap; }
.counts td.words, .counts thead th.words { text-align: left; white-space: normal; min-width: 12rem; }
pre { overflow-x: auto; margin: 0; font-size: .82rem; line-height: 1.4; }
summary { cursor: pointer; padding: .3rem 0; }
"""

# A setting that is a path (it may hold spaces), and a path in the middle of a text.
VALUES = re.compile(r"(?m)^(\s*(?:- )*(?:[\w.-]+:\s+)?['\"]?)(?:~|[A-Za-z]:)?[/\\].*?([^/\\'\"\n]*)(['\"]?)$")
PATHS = re.compile(r"(?<![\w.:/~])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\",:;<>]+[/\\])+([^\s/\\'\",:;<>]*)")

PLOT_HEIGHT = 120  # pixels of a histogram's columns
ROW_HEIGHT, BAR_HEIGHT = 42, 12  # pixels of a bar with its words, and of the bar alone
MOST_COLUMNS = 30
LONGEST_NAME = 40  # letters beside a bar; a narrow screen has no room for more


def page(title: str, sections: Iterable[str]) -> str:
    """The whole document."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n{''.join(sections)}</body>\n</html>\n"
    )


def escape(text: Any) -> str:
    return html.escape(str(text))


def section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>\n"


def fact_list(facts: Mapping[str, Any]) -> str:
    """Each a text, or a text and a smaller one."""
    rows = []
    for name, value in facts.items():
        large, small = value if isinstance(value, tuple) else (value, "")
        below = f"<small>{escape(small)}</small>" if small else ""
        rows.append(f"<div><dt>{escape(name)}</dt><dd>{escape(large)}{below}</dd></div>")
    return f'<dl class="facts">{"".join(rows)}</dl>'


def table(rows: Iterable[Sequence[str]], *, head: Sequence[str] = (), counts: int = 0) -> str:
    """The first cell of a row names it. head: names of the columns. counts: how many of the cells after the first are
    numbers, set right."""

    def line(cells: Sequence[str], tag: str) -> str:
        shown = [f"<th>{escape(cells[0])}</th>"]
        for i, cell in enumerate(cells[1:]):
            kind = ' class="words"' if i >= counts > 0 else ""
            shown.append(f"<{tag}{kind}>{escape(cell)}</{tag}>")
        return f"<tr>{''.join(shown)}</tr>"

    above = f"<thead>{line(head, 'th')}</thead>" if head else ""
    kind = ' class="counts"' if counts else ""
    return f"<table{kind}>{above}{''.join(line(row, 'td') for row in rows)}</table>"


# Pictures


def picture(data: bytes, words: str, *, kind: str = "png") -> str:
    """A PNG ("png") or JPEG ("jpeg") file as part of the page. words: what it shows, for those who do not see it."""
    with Image.open(io.BytesIO(data)) as one:
        width, height = one.size
    text = base64.b64encode(data).decode()
    return f'<img src="data:image/{kind};base64,{text}" width="{width}" height="{height}" alt="{escape(words)}">'


def jpeg(pixels: np.ndarray, words: str, *, quality: int = 85) -> str:
    """(h, w, 3) uint8 RGB as a picture of the page."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="JPEG", quality=quality)
    return picture(out.getvalue(), words, kind="jpeg")


def gallery(tiles: Iterable[tuple[np.ndarray | None, str, str]]) -> str:
    """Pictures side by side, as many as fit: (pixels, name, smaller words); None for what cannot be shown."""
    shown = []
    for pixels, name, words in tiles:
        tile = '<div class="none">no picture</div>' if pixels is None else jpeg(pixels, name)
        below = f"<small>{escape(words)}</small>" if words else ""
        shown.append(f"<figure>{tile}<figcaption>{escape(name)}{below}</figcaption></figure>")
    return f'<div class="gallery">{"".join(shown)}</div>'


# Charts: SVG whose widths are shares of the screen's, so that letters keep their size on a narrow one


@dataclass(frozen=True)
class Bar:
    """value and lost: lengths of its two parts. words: what is written at its right end."""

    name: str
    value: float
    lost: float = 0.0
    words: str = ""


def bars(title: str, rows: Sequence[Bar], *, about: str = "", key: Sequence[str] = ()) -> str:
    """Bars below each other, the longest as wide as the page. key: what the two colours mean."""
    most = max((row.value + row.lost for row in rows), default=0) or 1
    drawn = []
    for i, row in enumerate(rows):
        top, value, lost = i * ROW_HEIGHT, 100 * row.value / most, 100 * row.lost / most
        name = row.name if len(row.name) <= LONGEST_NAME else f"{row.name[: LONGEST_NAME - 1]}…"
        parts = [(0.0, 100.0, "track"), (0.0, value, "bar"), (value, lost, "lost")]
        drawn += [
            f'<text class="name" x="0" y="{top + 14}">{escape(name)}</text>',
            f'<text x="100%" y="{top + 14}" text-anchor="end">{escape(row.words)}</text>',
            *(rectangle(at, wide, top + 20, BAR_HEIGHT, kind, f"{row.name}: {row.words}") for at, wide, kind in parts),
        ]
    words = "; ".join(f"{row.name}: {row.words}" for row in rows)
    return chart("bars", title, about, key, words, len(rows) * ROW_HEIGHT, drawn)


def histogram(
    title: str,
    values: np.ndarray,
    *,
    axis: str,
    about: str = "",
    what: str = "pictures",
    whole: bool = False,
    within: tuple[float, float] | None = None,
    tail: float = 0.995,
) -> str:
    """How many of the (n,) values lie where. axis: what is measured and its unit. what: is counted. whole: the values
    are whole numbers. within: the range to show; without one the values', but where the part beyond the quantile
    `tail` would make it more than half as wide again, that part goes into the last column."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return f"<figure><figcaption>{escape(title)}<small>{escape(about)}</small></figcaption><p>None.</p></figure>"
    start, step, heights, cut = columns(values, whole=whole, within=within, tail=tail)
    end, scale = start + step * len(heights), PLOT_HEIGHT / max(1, heights.max())
    wide, drawn = 100 / len(heights), y_axis(int(heights.max()), what)
    for i, count in enumerate(heights):
        low, high = tick(start + i * step), tick(start + (i + 1) * step)
        where = (
            f"{low} and more" if cut and i == len(heights) - 1 else low if whole and step == 1 else f"{low} to {high}"
        )
        height = max(float(count) * scale, 1.5) if count else 0.0  # a single one is still seen
        words = f"{where}: {count} {what}"
        drawn.append(rectangle((i + 0.04) * wide, 0.92 * wide, PLOT_HEIGHT - height, height, "bar", words))
    drawn += x_axis(start, end, axis, middle=step / 2 if whole and step == 1 else 0.0, whole=whole)
    if cut:
        about = f"{about}{'; ' * bool(about)}last column: {tick(end - step)} and more, up to {tick(values.max())}"
    words = (
        f"{len(values)} {what}, median {tick(float(np.median(values)))}, {tick(values.min())} to {tick(values.max())}"
    )
    return chart("columns", title, about, (), words, PLOT_HEIGHT + 40, drawn)


def chart(kind: str, title: str, about: str, key: Sequence[str], words: str, height: int, drawn: Iterable[str]) -> str:
    """The frame of a chart. words: what it says, for those who do not see it."""
    colours = zip(("bar", "lost"), key, strict=False)
    named = "".join(f'<span class="key {colour}"></span>{escape(name)}' for colour, name in colours)
    below = f"<small>{escape(about)}{named}</small>" if about or named else ""
    return (
        f'<figure><figcaption>{escape(title)}{below}</figcaption>\n<svg class="{kind}" height="{height}" role="img" '
        f'aria-label="{escape(title)}. {escape(words)}">\n{"".join(drawn)}\n</svg></figure>'
    )


def rectangle(x: float, width: float, y: float, height: float, kind: str, words: str) -> str:
    """x and width in percent, y and height in pixels; "" for one without an area."""
    if width <= 0 or height <= 0:
        return ""
    return (
        f'<rect class="{kind}" x="{x:.3f}%" y="{y:.1f}" width="{width:.3f}%" height="{height:.1f}" rx="1.5">'
        f"<title>{escape(words)}</title></rect>"
    )


def columns(
    values: np.ndarray, *, whole: bool, within: tuple[float, float] | None, tail: float
) -> tuple[float, float, np.ndarray, bool]:
    """Where the first column starts, how wide each is, their counts, and whether the last one holds a cut tail."""
    low, high = within or (float(values.min()), float(values.max()))
    most = float(np.quantile(values, tail))
    cut = within is None and high - low > 1.5 * (most - low) > 0
    high = most if cut else high
    differ = high - low > 1e-6 * abs(high)  # by more than the numbers below the columns could say
    step = nice_step((high - low) / MOST_COLUMNS if differ else abs(high) / 20 or 1.0, whole=whole)
    start = math.floor(low / step + 1e-9) * step
    count = max(1, math.ceil((high - start) / step - 1e-9)) if within else int((high - start) / step + 1e-9) + 1
    if count < 5 and within is None:  # a column as wide as the page says nothing
        start -= 0 if whole else 2 * step
        count += 4
    place = np.floor((values - start) / step + 1e-9).astype(np.int64)
    return start, step, np.bincount(np.clip(place, 0, count - 1), minlength=count), cut


def nice_step(least: float, *, whole: bool = False) -> float:
    """1, 2, 2.5 or 5 times a power of ten, the first that is not below `least`; a whole number if asked for."""
    least = max(least, 1.0) if whole else least
    power = 10.0 ** math.floor(math.log10(least))
    sizes = (1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)
    return next((size * power for size in sizes if size * power >= least * (1 - 1e-9)), 10 * power)


def x_axis(start: float, end: float, words: str, *, middle: float = 0.0, whole: bool = False) -> list[str]:
    """Line, numbers and name. middle: how far right of its place a number stands."""
    base = PLOT_HEIGHT
    drawn = [f'<line x1="0" x2="100%" y1="{base}" y2="{base}"/>']
    step = nice_step((end - start) / 5, whole=whole)
    first = math.ceil(start / step - 1e-9)
    for i in range(first, math.floor((end - middle) / step + 1e-9) + 1):
        at = 100 * (i * step + middle - start) / (end - start)
        drawn.append(f'<text x="{at:.3f}%" y="{base + 15}" text-anchor="middle">{tick(i * step)}</text>')
    return [*drawn, f'<text x="50%" y="{base + 34}" text-anchor="middle">{escape(words)}</text>']


def y_axis(most: int, what: str) -> list[str]:
    """Lines and numbers left of them; what is counted beside the uppermost."""
    step = nice_step(most / 4, whole=True)
    drawn = []
    for i in range(int(most / step + 1e-9) + 1):
        y = PLOT_HEIGHT * (1 - i * step / max(most, 1))
        drawn.append(f'<line x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{tick(i * step)}</text>')
    turned = f'transform="translate(-34 {PLOT_HEIGHT / 2}) rotate(-90)"'
    return [*drawn, f'<text {turned} text-anchor="middle">{escape(what)}</text>']


def tick(value: float) -> str:
    """A number on an axis."""
    rounded = float(f"{value:.3g}") if abs(value) < 1000 else round(value)
    return f"{rounded:,g}".replace("-", "−") if abs(value) < 1000 else f"{rounded:,}".replace("-", "−")


def number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e6 else f"{value:,.0f}"


def without_paths(text: str) -> str:
    """The text with absolute paths cut down to their last part: where files lie is nobody else's business."""
    text = VALUES.sub(lambda match: f"{match.group(1)}.../{match.group(2)}{match.group(3)}", text)
    return PATHS.sub(lambda match: f".../{match.group(1)}", text)

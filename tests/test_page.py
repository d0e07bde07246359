"""Self-contained pages: well-formed whatever is written on them, and charts that show the numbers."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from facefact.page import Bar, bars, fact_list, gallery, histogram, jpeg, nice_step, page, section, table
from pages import Page

HOSTILE = '"><script>alert(1)</script>&<b onload="x">'


def counts_of(chart: str) -> dict[str, int]:
    """Words of each column -> how many, from what it says when one points at it."""
    words = [one["words"] for one in Page(chart).rectangles]
    found = [re.fullmatch(r"(.*): (\d+) \w+", text) for text in words]
    return {one.group(1): int(one.group(2)) for one in found}


def test_everything_is_escaped_and_the_page_needs_nothing() -> None:
    pixels = np.zeros((8, 12, 3), np.uint8)
    parts = [
        section(HOSTILE, fact_list({HOSTILE: HOSTILE, "b": (HOSTILE, HOSTILE)})),
        section("x", table([(HOSTILE, HOSTILE)], head=(HOSTILE, HOSTILE)) + gallery([(pixels, HOSTILE, HOSTILE)])),
        bars(HOSTILE, [Bar(HOSTILE, 1, 2, HOSTILE)], about=HOSTILE, key=(HOSTILE, HOSTILE)),
        histogram(HOSTILE, np.arange(9), axis=HOSTILE, about=HOSTILE, what=HOSTILE),
    ]
    shown = Page(page(HOSTILE, parts))
    assert shown.needs_nothing()
    assert "b" not in shown.tags
    assert shown.text.count("alert(1)") > 10


def test_a_picture_in_the_page_is_the_picture() -> None:
    pixels = np.full((40, 60, 3), (200, 30, 90), np.uint8)
    source = Page(jpeg(pixels, "a colour", quality=95)).sources[0]
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as opened:
        assert np.abs(np.asarray(opened).astype(int) - pixels).max() < 6


def test_what_cannot_be_shown_has_its_place() -> None:
    shown = Page(gallery([(None, "a.jpg", "truncated"), (np.zeros((4, 4, 3), np.uint8), "b.jpg", "")]))
    assert len(shown.sources) == 1
    assert "no picture" in shown.text
    assert "truncated" in shown.text


def test_numbers_stand_in_their_columns() -> None:
    text = table([("a", "1", "2", "words")], head=("name", "in", "out", "why"), counts=2)
    assert re.findall(r'<(t[dh])(?: class="words")?>(?:why|words)', text) == ["th", "td"]
    assert '<td>1</td><td>2</td><td class="words">' in text
    assert "class" not in table([("a", "1")])


def test_bars_are_as_long_as_their_numbers() -> None:
    rows = [Bar("decode", 60, 40, "60 of 100"), Bar("detect", 45, 15, "45 of 60"), Bar("size", 45, 0, "45 of 45")]
    drawn = [one for one in Page(bars("funnel", rows)).rectangles if one["class"] != "track"]
    widths = [(one["class"], float(one["width"].rstrip("%")), float(one["x"].rstrip("%"))) for one in drawn]
    assert widths == [("bar", 60, 0), ("lost", 40, 60), ("bar", 45, 0), ("lost", 15, 45), ("bar", 45, 0)]
    assert Page(bars("none", [])).rectangles == []
    assert Page(bars("nothing went in", [Bar("decode", 0)])).text.count("decode") == 1


def test_a_chart_says_in_words_what_it_shows() -> None:
    chart = histogram("Yaw", np.array([-10.0, 0.0, 30.0]), axis="degrees")
    assert 'role="img"' in chart
    assert 'aria-label="Yaw. 3 pictures, median 0, −10 to 30"' in chart
    assert "degrees" in Page(chart).text


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(0, 20, 5000),
        np.random.default_rng(1).lognormal(4, 1.5, 3000),
        np.array([7.0]),
        np.array([0.0]),
        np.zeros(50),
        np.array([0.3, 0.1 + 0.2]),
        np.arange(10.0),
        np.array([-1e-9, 1e9]),
        np.full(3, -5e6),
        np.array([1e-7, 2e-7, 3e-7]),
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_every_value_is_in_a_column(values, whole) -> None:
    values = np.round(values) if whole else values
    counts = counts_of(histogram("x", values, axis="unit", whole=whole))
    assert sum(counts.values()) == len(values)
    assert len(counts) <= 62


def test_columns_hold_what_they_say() -> None:
    values = np.random.default_rng(2).uniform(0, 100, 1000)
    for words, count in counts_of(histogram("x", values, axis="")).items():
        low, high = map(float, words.split(" to "))
        assert count == np.sum((values >= low) & (values < high))
    assert counts_of(histogram("x", np.array([1, 1, 2, 5]), axis="", whole=True)) == {"1": 2, "2": 1, "5": 1}


def test_heights_are_in_proportion() -> None:
    drawn = Page(histogram("x", np.array([1] * 10 + [2] * 5 + [3] * 1), axis="", whole=True)).rectangles
    heights = [float(one["height"]) for one in drawn]
    assert heights == pytest.approx([120, 60, 12])
    assert all(float(one["y"]) + float(one["height"]) == pytest.approx(120) for one in drawn)


def test_a_long_tail_goes_into_the_last_column() -> None:
    values = np.concatenate([np.random.default_rng(3).uniform(0, 10, 1000), [900.0]])
    chart = histogram("x", values, axis="")
    assert "up to 900" in chart
    last = list(counts_of(chart))[-1]
    assert last.endswith(" and more")
    assert float(last.removesuffix(" and more")) < 11
    assert "and more" not in histogram("x", values[:-1], axis="")


def test_a_range_of_its_own_and_values_that_are_none() -> None:
    chart = histogram("quality", np.array([0.0, 0.55, 1.0, np.nan, np.inf]), axis="", within=(0, 1))
    counts = counts_of(chart)
    assert sum(counts.values()) == 3
    assert [next(iter(counts)), list(counts)[-1]] == ["0 to 0.05", "0.95 to 1"]
    assert "None." in Page(histogram("x", np.array([np.nan]), axis="")).text


@pytest.mark.parametrize("least", [1e-9, 0.003, 0.99, 1.0, 1.01, 2.2, 7.0, 12345.6])
def test_nice_steps(least) -> None:
    step = nice_step(least)
    assert least * (1 - 1e-9) <= step <= 2.5 * least
    assert nice_step(least, whole=True) == int(nice_step(least, whole=True)) >= max(1, least) * (1 - 1e-9)

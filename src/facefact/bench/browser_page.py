"""The figures of `bench_page` for people: a page of Markdown."""

from __future__ import annotations

from statistics import median
from typing import Any

from facefact.bench.serve_page import MACHINE
from facefact.markdown import markdown_table

COLD = {
    "address": "the address is printed",
    "page": "the page can be used",
    "portrait": "the first portrait is seen",
    "likeness": "its likeness is said",
}
BARS = {"portrait": 10.0, "p95_ms": 200.0}  # seconds; milliseconds


def markdown(figures: dict[str, Any], command: str) -> str:
    """The whole page. command: that made it."""
    machine = figures["machine"]
    where = ", ".join(f"{name} {machine[name]}" for name in MACHINE if name in machine)
    after = "" if figures["load after"] is None else f"; load afterwards {figures['load after']:g}"
    sections = [
        f"# The studio in a browser\n\n```\n{command}\n```",
        f"The embedded model; the program, its worker and the browser on one machine: {where}{after}.",
    ]
    sections += [cold_section(figures["cold"])] if "cold" in figures else []
    sections += [answers_section(figures["answers"])] if "answers" in figures else []
    sections.append("Exact definitions: `facefact/bench/browser.py`.")
    return "\n\n".join(sections) + "\n"


def cold_section(cold: dict[str, list[float]]) -> str:
    rows = [
        (words, f"{median(cold[name]):.1f}", ", ".join(f"{one:.1f}" for one in cold[name]))
        for name, words in COLD.items()
    ]
    took = ", ".join(f"{one:.1f}" for one in cold["processor"])
    met = "met" if median(cold["portrait"]) <= BARS["portrait"] else "MISSED"
    words = (
        "Seconds from the start of `facefact ui`, one click as soon as there is a button (two portraits of 12 steps). "
        f"The bar, a first portrait within {BARS['portrait']:g} s, is {met}."
    )
    table = markdown_table(("until", "median", "each"), rows)
    alone = f"Processor seconds of the program and its processes until the first portrait (the browser's not): {took}."
    return f"## From a cold start\n\n{words}\n\n{table}\n\n{alone}"


def answers_section(answers: dict[str, dict[str, float]]) -> str:
    names = {"served": "an example, which the service answers", "seed": "another seed", "browser alone": "a tab"}
    rows = [
        (words, f"{answers[name]['n']:g}", *(f"{answers[name][one]:g}" for one in ("p50_ms", "p95_ms", "max_ms")))
        for name, words in names.items()
        if name in answers
    ]
    met = "met" if all(one["p95_ms"] <= BARS["p95_ms"] for one in answers.values()) else "MISSED"
    words = f"Milliseconds while portraits form. The bar, {BARS['p95_ms']:g} ms for 95 of 100 clicks, is {met}."
    table = markdown_table(("click on", "clicks", "p50", "p95", "most"), rows)
    return f"## While a portrait forms\n\n{words}\n\n{table}"

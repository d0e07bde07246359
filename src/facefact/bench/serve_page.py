"""The figures of `bench_serve` for people: a page of Markdown."""

from __future__ import annotations

from typing import Any

from facefact.markdown import markdown_table

MACHINE = ("system", "device", "processor instructions", "cores", "threads", "load", "facefact", "python", "torch")
BARS = {"p50_ms": 50, "p95_ms": 250}  # of a submission, beside a running worker on two cores
GAIN = 1.3  # of a batch


def markdown(figures: dict[str, Any], command: str) -> str:
    """The whole page. command: that made it."""
    sections = [f"# The service\n\n```\n{command}\n```", introduction(figures)]
    sections += [load_section(figures["load"], figures["settings"])] if "load" in figures else []
    sections += [pick_up_section(figures["pick_up"])] if "pick_up" in figures else []
    sections += [batch_section(figures["batch"])] if "batch" in figures else []
    sections.append("Exact definitions: `facefact/bench/serve.py`. All figures: the JSON beside.")
    return "\n\n".join(sections) + "\n"


def introduction(figures: dict[str, Any]) -> str:
    machine = figures["machine"]
    where = ", ".join(f"{name} {machine[name]}" for name in MACHINE if name in machine)
    return f"The embedded model, SQLite, one worker; service and clients on one machine: {where}."


def load_section(load: dict[str, Any], settings: dict[str, Any]) -> str:
    ways = [(f"steady, {load['steady']['rate_asked']:g} a second", load["steady"]), ("at once", load["at_once"])]
    rows = [
        (
            "answered 202, 429",
            *(f"{way['answers'].get('202', 0):,}, {way['answers'].get('429', 0):,}" for _, way in ways),
        ),
        ("answered otherwise or not at all", *(way["without_answer"] for _, way in ways)),
        ("429 without Retry-After", *(way["refused_without_retry_after"] for _, way in ways)),
        ("accepted and lost, twice, unasked", *(f"{way['lost']}, {way['twice']}, {way['unasked']}" for _, way in ways)),
        ("all answers: p50, p95, p99, ms", *(three(way["seconds"]) for _, way in ways)),
        ("202 alone", *(three(way["seconds_accepted"]) for _, way in ways)),
        ("429 alone", *(three(way["seconds_refused"]) for _, way in ways)),
        ("answers a second", *(way["submissions_per_second"] for _, way in ways)),
        ("portraits made meanwhile", *(way["made_meanwhile"] for _, way in ways)),
        ("memory of the API: before, quarters, MiB", *(memory(way["memory_mib"]) for _, way in ways)),
    ]
    words = (
        f"{settings['submissions']:,} submissions of a photo from {settings['clients']} clients, {settings['queue']:,} "
        f"may wait, beside a worker that paints ({settings['steps']} steps). Steady: they come whether or not earlier "
        f"ones are answered, and the bars p50 <= {BARS['p50_ms']} ms, p95 <= {BARS['p95_ms']} ms are "
        f"{'met' if within(load['steady']['seconds']) else 'MISSED'}. At once: every client sends its next as soon as "
        "it has an answer, so the seconds are those of a queue of clients, and the rate is the most that there is."
    )
    return f"## Submissions\n\n{words}\n\n{markdown_table(('', *(name for name, _ in ways)), rows)}"


def within(seconds: dict[str, Any]) -> bool:
    return all(seconds[name] <= most for name, most in BARS.items())


def three(seconds: dict[str, Any]) -> str:
    return f"{seconds['p50_ms']:g}, {seconds['p95_ms']:g}, {seconds['p99_ms']:g}" if seconds["n"] else "none"


def memory(found: dict[str, Any]) -> str:
    if "skipped" in found:
        return str(found["skipped"])
    return f"{found['before']:g}; {', '.join(f'{one:g}' for one in found['quarters'])}"


def pick_up_section(found: dict[str, Any]) -> str:
    return (
        f"## Pick-up\n\nFrom the row in the table to a worker's beginning, idle service, {found['n']} jobs: p50 "
        f"{found['p50_ms']:g} ms, p95 {found['p95_ms']:g} ms, at most {found['max_ms']:g} ms."
    )


def batch_section(found: dict[str, Any]) -> str:
    rows = [
        (f"--batch {found['batch'] if name == 'batch' else 1}", spread_of(found["portraits_per_hour"][name], "{:,.0f}"))
        for name in ("batch", "one")
    ]
    rows.append(("gain", spread_of(found["gain"], "{:.2f}")))
    met = "met" if found["gain"]["median"] >= GAIN else "MISSED"
    words = (
        f"{found['depth']} portraits of {found['steps']} steps wait together; two services in turns, {found['n']} "
        f"rounds, median [quartiles]. The bar, a gain of {GAIN}, is {met}."
    )
    return f"## Batches\n\n{words}\n\n{markdown_table(('', 'portraits an hour'), rows)}"


def spread_of(one: dict[str, float], form: str) -> str:
    return f"{form.format(one['median'])} [{form.format(one['low'])}, {form.format(one['high'])}]"

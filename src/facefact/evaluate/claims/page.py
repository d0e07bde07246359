"""The report of `facefact eval claims` as Markdown: tables of methods, the claims, and a fairness sheet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from facefact.evaluate.claims.plan import CAUSAL, FIGURES, OF_SETS
from facefact.markdown import markdown_table
from facefact.world import CHOICES

PERSON = ("rank1", "rank1_factors", "cos_own", "factor_error", "face_error", "no_face", "diversity", "diversity_true")
REST = ("attributes", "expression", "pose", "leakage", "copy_paste", "outside_change", "locality", "kid", "kid_nobody")
CAUSES = tuple(CAUSAL)
SHEET = ("rank1", "face_error", "no_face", "attributes", "leakage", "outside_change")  # of fairness, in the short form
COST = ("method", "pictures seen", "learned weights", "trainings", "hours")
WORDS = {True: "holds", False: "**does not hold**", "undecided": "undecided"}


def markdown(report: Mapping[str, Any]) -> str:
    """Everything: `summary`, then the tables factor by factor and the whole fairness sheet."""
    methods = report["methods"]
    parts = [summary(report), "### Factor by factor"]
    for name in ("attributes", "leakage"):
        keys = [f"{name}.{factor}" for factor in CHOICES]
        heads = [name, *(factor.replace("_", " ") for factor in CHOICES)]
        rows = [[said(who), *(short(one["figures"].get(key)) for key in keys)] for who, one in methods.items()]
        parts.append(markdown_table(heads, rows))
    parts += ["### Fairness: every figure by third of skin tone", fairness(methods, FIGURES)]
    parts.append("\n".join(f"- {said(name)}: {words}" for name, words in (FIGURES | OF_SETS | CAUSAL).items()))
    return "\n\n".join(parts) + "\n"


def summary(report: Mapping[str, Any]) -> str:
    """What a reader needs first: the claims and the two tables of methods; folded, their cost and a fairness sheet."""
    methods, about = report["methods"], report["measured"]
    cost = [
        [
            said(name),
            f"{one['pictures_seen']:,}" if one["pictures_seen"] else "-",
            f"{one['learned_weights']:,}" if one["learned_weights"] else "-",
            str(len(one["seeds"])) if one["pictures_seen"] else "-",
            f"{one['hours']:.2f}" if one["hours"] else "-",
        ]
        for name, one in methods.items()
    ]
    of_causes = {name: one for name, one in methods.items() if set(CAUSES) & set(one["figures"])}
    notes = "\n".join(f"- {said(name)}: {one['note']}" for name, one in methods.items() if one["note"])
    claims = [[one["claim"], WORDS[one["holds"]], said(one["figure"]), one["why"]] for one in report["claims"]]
    parts = [
        f"{about['people']} unseen people, {about['steps']} steps, scale {about['scale']:g}; training: "
        f"{report['hours']:g} hours in all. In brackets 95 % intervals over people and training seeds.",
        markdown_table(["claim", "here", "figure", "paired difference"], claims) if claims else "",
        "The person:",
        of_methods(methods, PERSON),
        "Everything else:",
        of_methods(methods, REST),
        f"What a change of the reference does ({about['causal']} people):" if of_causes else "",
        of_methods(of_causes, CAUSES) if of_causes else "",
        folded("What each of them is, and cost", f"{markdown_table(COST, cost)}\n\n{notes}".rstrip()),
        folded(
            "By third of skin tone: light / middle / dark, and how far dark is from light", fairness(methods, SHEET)
        ),
    ]
    return "\n\n".join(part for part in parts if part)


def of_methods(methods: Mapping[str, Any], figures: Sequence[str]) -> str:
    """A row a method, a column a figure."""
    rows = [[said(name), *(cell(one["figures"].get(key)) for key in figures)] for name, one in methods.items()]
    return markdown_table(["method", *map(said, figures)], rows)


def fairness(methods: Mapping[str, Any], figures: Iterable[str]) -> str:
    """A row a method, a column a figure: the thirds, and in brackets the interval of dark less light."""
    known = [key for key in figures if any(key in one["fairness"] for one in methods.values())]
    rows = [[said(name), *(thirds(one["fairness"].get(key)) for key in known)] for name, one in methods.items()]
    return markdown_table(["method", *map(said, known)], rows)


def folded(title: str, text: str) -> str:
    """Shown when its title is clicked, where Markdown is drawn."""
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def thirds(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "-"
    parts = " / ".join(short(found.get(name)) for name in ("light", "mid", "dark"))
    apart = found.get("apart")
    return parts if apart is None else f"{parts} [{apart['low']:+.2f}, {apart['high']:+.2f}]"


def said(name: str) -> str:
    return name.replace("_", " ")


def short(one: Mapping[str, float] | None) -> str:
    return "-" if one is None else f"{one['value']:.{_digits(one)}f}"


def cell(one: Mapping[str, float] | None) -> str:
    if one is None:
        return "-"
    value, low, high = (f"{one[name]:.{_digits(one)}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _digits(one: Mapping[str, float]) -> int:
    return 1 if abs(one["value"]) >= 10 else 2

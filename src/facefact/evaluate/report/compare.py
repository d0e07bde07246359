"""Two reports: what changed by more than chance explains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facefact.markdown import markdown_table
from facefact.types import UserError

PARTS = ("by_skin.", "less.", "attributes.", "leakage.", "gain.")  # of figures, which come after them


@dataclass(frozen=True)
class Change:
    """A figure of one method in both reports. beyond: the two 95 % intervals do not touch."""

    method: str
    figure: str
    before: Mapping[str, float]
    after: Mapping[str, float]

    @property
    def by(self) -> float:
        return self.after["value"] - self.before["value"]

    @property
    def beyond(self) -> bool:
        return self.before["high"] < self.after["low"] or self.after["high"] < self.before["low"]


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Of the figures that both reports have, in their order. UserError: they are of different suites, or have nothing
    in common."""
    if before["suite"] != after["suite"]:
        raise UserError(f"the reports are of different suites: {before['suite']!r} and {after['suite']!r}")
    found = [
        Change(method, name, one, after["methods"][method][name])
        for method, figures in before["methods"].items()
        for name, one in figures.items()
        if name in after["methods"].get(method, {})
    ]
    if not found:
        raise UserError("the two reports have no figure of one method in common")
    return found


def settings_apart(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What they were measured on, where it differs: name -> before, after."""
    one, two = before["about"], after["about"]
    return {key: (one.get(key), two.get(key)) for key in {**one, **two} if one.get(key) != two.get(key)}


def as_json(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    found = changes(before, after)
    return {
        "settings": {key: list(pair) for key, pair in settings_apart(before, after).items()},
        "compared": len(found),
        "changed": [
            {
                "method": one.method,
                "figure": one.figure,
                "by": round(one.by, 4),
                "before": one.before,
                "after": one.after,
            }
            for one in found
            if one.beyond
        ],
    }


def markdown(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What changed beyond the intervals, one row a figure, whole figures before their parts; first what the two were
    measured on, where it differs."""
    found = changes(before, after)
    lines = [f"{key}: {one} -> {two}" for key, (one, two) in settings_apart(before, after).items()]
    beyond = sorted((one for one in found if one.beyond), key=lambda one: (one.figure.startswith(PARTS), -abs(one.by)))
    lines.append(f"{len(beyond)} of {len(found)} figures changed beyond their intervals")
    if not beyond:
        return "\n".join(lines) + "\n"
    rows = [[one.method, one.figure, _said(one.before), _said(one.after), f"{one.by:+.3f}"] for one in beyond]
    return "\n".join([*lines, "", markdown_table(["method", "figure", "before", "after", "change"], rows)]) + "\n"


def _said(one: Mapping[str, float]) -> str:
    return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"

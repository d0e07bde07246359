"""The curriculum as data: settings that change over the steps, written as corners of a polyline."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import numpy as np

from facefact.types import UserError

Curve = float | tuple[tuple[float, float], ...]  # a number, or corners (step, value), straight lines between them


def value_at(curve: Curve, step: int) -> float:
    """The curve's value at a step; before the first corner and after the last one, theirs."""
    if isinstance(curve, (int, float)):
        return float(curve)
    steps, values = zip(*curve, strict=True)
    return float(np.interp(step, steps, values))


def check_curve(name: str, curve: Curve, *, low: float = 0.0, high: float = float("inf")) -> None:
    """UserError when corners are not in the order of their steps, or a value lies outside [low, high]."""
    corners = ((0.0, curve),) if isinstance(curve, (int, float)) else curve
    if not corners:
        raise UserError(f"setting {name} has no corners: write a number, or [[step, value], ...]")
    steps = [step for step, _ in corners]
    if any(b <= a for a, b in zip(steps, steps[1:], strict=False)):
        raise UserError(f"setting {name}: the steps of its corners must rise, not {steps}")
    for _, value in corners:
        if not low <= value <= high:
            raise UserError(f"setting {name}: {value} lies outside {low} to {high}")


def curves(settings: Any, *, where: str = "") -> dict[str, Curve]:
    """Every setting of a tree of dataclasses that changes over the steps, by its dotted name: what the report plots."""
    found: dict[str, Curve] = {}
    kinds = get_type_hints(type(settings))
    for field in fields(settings):
        value, name = getattr(settings, field.name), f"{where}{field.name}"
        if is_dataclass(value):
            found |= curves(value, where=f"{name}.")
        elif kinds[field.name] == Curve and not isinstance(value, (int, float)):
            found[name] = value
    return found

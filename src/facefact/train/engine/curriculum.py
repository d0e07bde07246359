"""The curriculum as data: settings that change over the steps, written as corners of a polyline."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, get_type_hints

import numpy as np

from facefact.types import UserError

Place = float | str  # a step, or "85%": a share of the run's steps
Curve = float | tuple[tuple[Place, float], ...]  # a number, or corners (step, value), straight lines between them
Stairs = int | tuple[tuple[Place, int], ...]  # a number, or (step, value): from that step on
S = TypeVar("S")


def value_at(curve: Curve, step: int) -> float:
    """The curve's value at a step; before the first corner and after the last one, theirs. ValueError: a corner whose
    place is still a share (`in_steps` makes it a step)."""
    if isinstance(curve, (int, float)):
        return float(curve)
    places, values = zip(*curve, strict=True)
    return float(np.interp(step, [float(place) for place in places], values))


def in_steps(settings: S, steps: int, *, where: str = "") -> S:
    """A tree of settings in which every curve's places are steps, "85%" that of a run of `steps`. UserError: a place
    that is neither a step nor a share, by its dotted name."""
    kinds = get_type_hints(type(settings))
    changed: dict[str, Any] = {}
    for field in fields(settings):  # type: ignore[arg-type]
        value, name = getattr(settings, field.name), f"{where}{field.name}"
        if is_dataclass(value):
            changed[field.name] = in_steps(value, steps, where=f"{name}.")
        elif kinds[field.name] in (Curve, Stairs) and isinstance(value, tuple):
            changed[field.name] = tuple((step_of(place, steps, name), one) for place, one in value)
    return replace(settings, **changed)  # type: ignore[type-var]


def step_of(place: Place, steps: int, name: str) -> float:
    """A share's step in a run of so many (not rounded: two places stay two in the shortest run); a step as it is."""
    if not isinstance(place, str):
        return place
    try:
        share = float(place.strip().removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not place.strip().endswith("%") or not 0 <= share <= 1:
        raise UserError(f"setting {name}: {place!r} is no place in a run: write a step, or a share from 0% to 100%")
    return round(share * steps, 3)


def check_curve(name: str, curve: Curve, *, low: float = 0.0, high: float = float("inf")) -> None:
    """UserError when corners are not in the order of their steps, or a value lies outside [low, high]."""
    corners = ((0.0, curve),) if isinstance(curve, (int, float)) else curve
    if not corners:
        raise UserError(f"setting {name} has no corners: write a number, or [[step, value], ...]")
    steps = [step_of(step, 1, name) if isinstance(step, str) else step for step, _ in corners]
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

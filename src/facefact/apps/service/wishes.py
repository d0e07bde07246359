"""What a job asks for, checked: JSON values become one of the settings records."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from facefact.generate import GroupSettings, InpaintSettings, Settings, Studio
from facefact.generate.jobs import SUFFIXES
from facefact.types import UserError

RECORDS: dict[str, type[Settings]] = {"portrait": Settings, "template": InpaintSettings, "group": GroupSettings}
# What a job's settings hold besides the fields of its record.
BESIDE: dict[str, dict[str, Any]] = {
    "portrait": {"format": str, "which": int, "exact_prompt": bool, "style": dict},
    "template": {"format": str, "which": int, "face_which": int, "exact_prompt": bool},
    "group": {"format": str, "face_which": int, "places": dict, "head": bool, "exact_prompt": bool},
}
# What the pictures are made with (see `parts`): of every kind.
PARTS = {"scheduler": str, "lora": str, "lora_weight": float, "lora_file": str, "style_lora": str}
NO_WISH = ("control_image", "control_scale", "control_mode")  # no picture for a ControlNet can be sent

S = TypeVar("S", bound=Settings)


def known_settings(kind: str) -> dict[str, Any]:
    """Name -> type of everything that a job of this kind may set."""
    hints = get_type_hints(RECORDS[kind])
    own = {one.name: hints[one.name] for one in fields(RECORDS[kind]) if one.name not in NO_WISH}
    return own | BESIDE[kind] | PARTS


def check(kind: str, given: Mapping[str, Any]) -> None:
    """UserError: a setting that is none, or a value of another type. (A value out of its range the record refuses.)"""
    known = known_settings(kind)
    for name, value in given.items():
        if name not in known:
            raise UserError(f"{name!r} is no setting of a {kind}: {', '.join(sorted(known))}")
        if value is not None and not fits(value, known[name]):
            raise UserError(f"{name}: {_short(value)} is not {_in_words(known[name])}")
    suffix_of(given)


def settings_of(studio: Studio, kind: type[S], given: Mapping[str, Any], **more: Any) -> S:
    """The record of what is given, which was checked; the rest as the studio's model has it."""
    names = {one.name for one in fields(kind)}
    values = {name: value for name, value in given.items() if name in names} | more
    if isinstance(values.get("centre"), list):
        values["centre"] = tuple(values["centre"])
    if not isinstance(values.get("prompt"), str) or not values["prompt"].strip():
        raise UserError("say what to show: a prompt")
    settings = studio.settings(kind, **values)
    most = studio.pipe.scheduler.config.num_train_timesteps
    if settings.steps > most:
        raise UserError(f"{settings.steps} steps are more than the model's scheduler has: at most {most}")
    return settings


def suffix_of(given: Mapping[str, Any]) -> str:
    """How the file of a result ends. UserError: no format that pictures are written in."""
    form = given.get("format") or "png"
    if form not in SUFFIXES:
        raise UserError(f"{_short(form)} is no format: {', '.join(SUFFIXES)}")
    return SUFFIXES[form]


def fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is one of the type; numbers are finite."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is tuple:
        return isinstance(value, (list, tuple)) and len(value) == len(parts) and all(map(fits, value, parts))
    if origin is not None and issubclass(origin, Sequence):
        return isinstance(value, list) and all(fits(one, parts[0]) for one in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _in_words(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_in_words(part) for part in parts if part is not type(None))
    if origin is Literal:
        return "one of " + ", ".join(map(str, parts))
    if origin is not None:
        return f"a list of {_in_words(parts[0]).split(' ', 1)[-1]}s"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(hint, "an object")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

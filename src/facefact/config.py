"""Settings: a YAML file and `key.sub=value` overrides become a tree of frozen dataclasses, strictly."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from facefact.types import UserError

T = TypeVar("T")


def load_config(kind: type[T], path: str | Path | None = None, *, overrides: Sequence[str] = ()) -> T:
    """An instance of the dataclass `kind` from a YAML file (none: all defaults) and overrides, `"optim.lr=1e-4"` each.

    Unknown keys, missing ones and values of the wrong type are UserErrors that name the key.
    """
    tree = {} if path is None else _read(Path(path))
    for override in overrides:
        _override(tree, override)
    return from_tree(kind, tree)


def from_tree(kind: type[T], tree: Mapping[str, Any], *, where: str = "") -> T:
    """An instance of the dataclass `kind` from nested mappings. `where`: the dotted key of the tree, for messages."""
    known = {field.name: field for field in fields(kind) if field.init}  # type: ignore[arg-type]
    for key in tree:
        if key not in known:
            raise UserError(f"unknown setting {where}{key}{_did_you_mean(str(key), known)}")
    hints = typing.get_type_hints(kind)
    values = {key: _convert(hints[key], value, f"{where}{key}") for key, value in tree.items()}
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"setting {where}{name} is missing")
    return kind(**values)


def _did_you_mean(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f": did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the settings {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if tree is not None and not isinstance(tree, dict):
        raise UserError(f"{path} holds no `key: value` settings")
    return tree or {}


def _override(tree: dict[str, Any], override: str) -> None:
    """Sets one dotted key of the tree, in place."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise UserError(f"{override!r} is no setting: write key.sub=value")
    *parents, last = dotted.strip().split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise UserError(f"setting {dotted}: {parent} is a value, it has nothing inside")
    try:
        tree[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"setting {dotted}: {text!r} is not a YAML value") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    """The value as the annotation wants it."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, where)
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UserError(f"setting {where} is a group of settings, not {value!r}")
        return from_tree(typing.cast(type, hint), value, where=f"{where}.")
    if origin is typing.Literal:
        if value not in args:
            raise UserError(f"setting {where}: {value!r} is not one of {', '.join(map(str, args))}")
        return value
    if origin in (tuple, list):
        return origin(_convert_items(args, value, where))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"setting {where} must be a mapping, not {value!r}")
        return {key: _convert(args[1], item, f"{where}.{key}") for key, item in value.items()}
    return _convert_scalar(hint, value, where)


def _convert_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    choices = [arg for arg in args if arg is not type(None)]
    for choice in choices[:-1]:
        try:
            return _convert(choice, value, where)
        except UserError:
            continue
    return _convert(choices[-1], value, where)


def _convert_items(args: tuple[Any, ...], value: Any, where: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise UserError(f"setting {where} must be a list, not {value!r}")
    hints = [args[0]] * len(value) if len(args) == 1 or args[-1] is ... else list(args)
    if len(hints) != len(value):
        raise UserError(f"setting {where} must have {len(hints)} items, not {len(value)}")
    return [_convert(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(zip(hints, value, strict=True))]


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    wrong = UserError(f"setting {where} must be {getattr(hint, '__name__', hint)}, not {value!r}")
    if hint is bool or isinstance(value, bool):
        if not (hint is bool and isinstance(value, bool)):
            raise wrong
        return value
    if hint is float and isinstance(value, (int, str)):  # YAML 1.1 reads 1e-4 as a string
        try:
            return float(value)
        except ValueError:
            raise wrong from None
    if hint is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, hint):
        raise wrong
    return value

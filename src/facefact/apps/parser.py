"""The parser of all commands. A mistake costs one line, which names the nearest right word where there is one."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

NUMBER = re.compile(r"-\d|-\.\d")


class Parser(argparse.ArgumentParser):
    """As argparse's; its subparsers are of this class too. A mistake ends the program with exit code 2."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register("type", float, a_number)
        self.register("type", int, a_whole_number)

    def error(self, message: str) -> NoReturn:
        """One line on stderr, without the usage of all options."""
        line = " ".join(message.split())
        hint = "" if "did you mean" in line else f"; see {self.prog} --help"
        self.exit(2, f"{self.prog}: error: {line}{hint}\n")

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """As argparse's, but each parser refuses what it does not know itself, as it knows what comes near; and before
        anything else, as a mistyped `--fase` is not a missing `--face`."""
        args = list(sys.argv[1:] if args is None else args)
        for option in self._options_among(args):
            if not self._knows(option):
                near = nearest(option, self._option_string_actions)
                self.error(f"{option}: no such option{did_you_mean(near)}")
        namespace, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"{rest[0]!r} belongs to no option; put a text of several words into quotes")
        return namespace, rest

    def _options_among(self, args: Sequence[str]) -> Iterable[str]:
        """The words that are this parser's to understand, and look like options, without their values."""
        for word in args:
            name = word.partition("=")[0]
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                return
            if len(word) > 1 and word.startswith("-") and " " not in name and not NUMBER.match(word):
                yield name

    def _knows(self, option: str) -> bool:
        """By its whole name, by the beginning of a long name, or as a short one with its value behind it."""
        known = self._option_string_actions
        if option.startswith("--"):
            return any(name.startswith(option) for name in known)
        return option in known or option[:2] in known

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            line = f"{value!r} is none of {', '.join(choices)}"
            raise argparse.ArgumentError(action, line + did_you_mean(nearest(str(value), choices)))


def nearest(word: str, right: Iterable[str]) -> str | None:
    """The right word that a mistyped one was meant to be, None if none is near; dashes before it do not count."""
    names = {name.lstrip("-"): name for name in right}
    found = get_close_matches(word.lstrip("-").lower(), names, n=1)
    return names[found[0]] if found else None


def did_you_mean(near: str | None) -> str:
    return f"; did you mean {near}?" if near else ""


def a_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return number


def a_whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number from `least` on."""

    def number(text: str) -> int:
        if (value := a_whole_number(text)) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    return number

"""A command line as it can be typed again."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from facefact.apps.cli import build_parser
from facefact.apps.options import typed_again


@pytest.mark.parametrize(
    ("typed", "noted"),
    [
        ("unet", "unet --shape sd15"),
        ("unet --rounds 5 --batch 1 --dtype auto --face-share 0.2", "unet --shape sd15"),
        (
            "unet --only unet encode --no-guidance --size 64",
            "unet --shape sd15 --size 64 --no-guidance --only unet encode",
        ),
        (
            "unet --face-share 0.30 --json a/b.json --out /home/me/c.md",
            "unet --shape sd15 --face-share 0.3 --json a/b.json --out c.md",
        ),
    ],
)
def test_only_what_differs_from_the_defaults_is_noted(typed: str, noted: str) -> None:
    args = build_parser("bench").parse_args(["bench", *typed.split()])
    assert typed_again(args.parser, args, always=["shape"]) == f"facefact bench {noted}"


def test_what_is_shown_for_a_value_and_what_never_is() -> None:
    words = ["bench", "prepare", "/home/me/photos", "--set", "face={detector: avatar}", "chunk=3", "--yunet", "/secret"]
    args = build_parser("bench").parse_args(words)
    line = typed_again(args.parser, args, never=["yunet"], shown={"folder": "photos"})
    assert line == "facefact bench prepare photos --set 'face={detector: avatar}' chunk=3"


def test_what_is_noted_is_read_as_the_same_arguments() -> None:
    parser = argparse.ArgumentParser(prog="try")
    parser.add_argument("-f", "--file", type=Path)
    parser.add_argument("--number", type=float, default=1.0)
    args = parser.parse_args(["--file", "a b", "--number", "0.5"])
    assert typed_again(parser, args) == "try --file 'a b' --number 0.5"

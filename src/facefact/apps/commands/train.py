"""`facefact train CONFIG`: the bundled model from nothing, part by part; interrupted, it goes on with the same
command."""

from __future__ import annotations

import argparse
from typing import Any

from facefact.train import command


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a face adapter, or the bundled model from nothing",
        description="Train the bundled model from nothing: autoencoder, face encoder, base model, adapter, and the "
        "judges of the evaluation. The same command again goes on where it stopped.",
    )
    command.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    return command.run(args)

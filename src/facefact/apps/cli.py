"""The command `facefact`: a table of commands, each a module with `add_parser(subparsers)` and `run(args) -> int`.

Only the module of the command that was asked for is imported, so that help is there at once.
Exit codes: 0 done, 2 the user's input is wrong (one line on stderr), 130 interrupted, 1 anything else.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from facefact import __version__
from facefact.apps.parser import Parser
from facefact.types import UserError

COMMANDS = {
    "demo": ("facefact.apps.commands.demo", "see it work: portraits of people the bundled model has never seen"),
    "generate": ("facefact.apps.commands.generate", "photos of one person + a prompt -> portraits of that person"),
    "group": ("facefact.apps.commands.group", "several people in one picture"),
    "inpaint": ("facefact.apps.commands.inpaint", "put a person's face into a template picture"),
    "card": ("facefact.apps.commands.card", "identity cards: make, show, merge, mix; what a likeness means"),
    "faces": ("facefact.apps.commands.faces", "show the faces that are found in pictures, or why none is"),
    "styles": ("facefact.apps.commands.styles", "list, add and preview styles"),
    "verify": ("facefact.apps.commands.verify", "what is known of where pictures come from"),
    "sign": ("facefact.apps.commands.sign", "make a key and certificates that sign pictures (C2PA)"),
    "models": ("facefact.apps.commands.models", "list, import and pull models; their licences"),
    "prepare": ("facefact.apps.commands.prepare", "pictures of people -> a clean training set"),
    "train": ("facefact.apps.commands.train", "train a face adapter, or the bundled model from nothing"),
    "eval": ("facefact.apps.commands.evaluate", "measure a model"),
    "bench": ("facefact.apps.commands.bench", "measure speed and memory"),
}


def build_parser(asked: str | None = None) -> Parser:
    """The parser; only the command that is asked for has its options."""
    parser = Parser(prog="facefact", description="Identity-preserved portraits with the FACT adapter.")
    parser.add_argument("--version", action="version", version=f"facefact {__version__}")
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, (module, help_line) in COMMANDS.items():
        if name == asked:
            import_module(module).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=help_line)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    asked = next((arg for arg in argv if not arg.startswith("-")), None)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    try:
        args = build_parser(asked).parse_args(argv)
        return import_module(COMMANDS[args.command][0]).run(args)
    except UserError as error:
        print(f"facefact: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("facefact: interrupted", file=sys.stderr)
        return 130
    except Exception:
        traceback.print_exc()
        return 1

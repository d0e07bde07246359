"""`facefact compare`: two report folders, and what changed beyond the intervals."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    line = "two report folders: what changed beyond the intervals"
    parser = subparsers.add_parser("compare", help=line, description=line)
    parser.add_argument("before", type=Path, metavar="A", help="a folder that `facefact eval ... --out` wrote")
    parser.add_argument("after", type=Path, metavar="B", help="another one of the same suite")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(args: argparse.Namespace) -> int:
    from facefact.evaluate.report.compare import as_json, markdown
    from facefact.evaluate.report.record import read_report

    before, after = read_report(args.before), read_report(args.after)
    print(json.dumps(as_json(before, after), indent=2) if args.json else markdown(before, after), end="")
    return 0

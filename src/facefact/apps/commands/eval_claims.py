"""`facefact eval claims`: FACT against peers that are trained and run alike."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from facefact.apps.progress import show, silence_loading


def add(protocols: Any) -> None:
    line = "train FACT and its peers alike, and say which of the paper's claims hold"
    parser = protocols.add_parser("claims", help=line, description=f"{line.capitalize()}. Again: it goes on.")
    parser.add_argument("config", type=Path, metavar="CONFIG", help="such as configs/claims.yaml")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="trainings, what was judged, the report")
    parser.add_argument("--only", nargs="+", default=[], metavar="METHOD", help="these methods alone")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="where the report goes besides OUT/claims.json, with its pictures and matrices beside it",
    )
    parser.add_argument(
        "--page",
        type=Path,
        metavar="MD",
        help="the page whose tables, between <!-- CLAIMS name --> and <!-- /CLAIMS name -->, become these; name: that "
        "of CONFIG without its ending",
    )
    parser.add_argument("--judges", type=Path, help="the judges (default: the embedded ones)")
    parser.add_argument("--device", help="cuda, mps or cpu for the pictures (default: the best there is)")


def run(args: argparse.Namespace) -> int:
    from facefact.demo import judges_path
    from facefact.device import choose_device
    from facefact.evaluate.claims.page import markdown, summary
    from facefact.evaluate.claims.run import run_claims
    from facefact.markdown import put_between

    silence_loading()
    report = run_claims(
        args.config,
        args.out,
        judges=args.judges or judges_path(),
        only=args.only,
        device=choose_device(args.device),
        progress=show,
    )
    if args.json:
        copied(args.out, args.json)
    if args.page:
        put_between(args.page, f"CLAIMS {args.config.stem}", summary(report))
    print(markdown(report), end="")
    return 0


def copied(out: Path, path: Path) -> None:
    """OUT/claims.json as `path`, and what belongs to it: FILE.png, FILE_sheet.png, FILE_causal.{json,png}."""
    from facefact.checkpoint import replacing

    path.parent.mkdir(parents=True, exist_ok=True)
    for there, name in (
        ("claims.json", path.name),
        ("claims.png", f"{path.stem}.png"),
        ("sheet.png", f"{path.stem}_sheet.png"),
        ("causal.json", f"{path.stem}_causal.json"),
        ("causal.png", f"{path.stem}_causal.png"),
    ):
        if (out / there).is_file():
            with replacing(path.parent / name) as temporary:
                temporary.write_bytes((out / there).read_bytes())

"""`facefact verify`: what is known of where pictures come from."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.generate.known import Known

LONGEST = 100  # letters of a prompt in a line
STATES = {
    "trusted": "valid, by {signer}, who is trusted",
    "valid": "valid, by {signer}; nobody here vouches for who that is (--trust CA.pem)",
    "tampered": "broken: {why}",
    "unknown": "there is one, and nothing here reads it: pip install 'facefact[c2pa]'",
}


def add_parser(subparsers: Any) -> None:
    line = "what is known of where pictures come from"
    parser = subparsers.add_parser(
        "verify",
        help=line,
        description=f"Say {line}: recipe, source type, signature, invisible mark. Exit code 0: all are facefact's, and "
        "none was changed since it was signed; 1: one is not, was, or cannot be read.",
    )
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="PNG, JPEG, WebP and others")
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        type=Path,
        metavar="CA.pem",
        help="trust signers with certificates of this authority; repeat it for more (the one of `facefact sign init` "
        "is trusted anyway)",
    )
    parser.add_argument(
        "--signed", action="store_true", help="a picture counts only if a trusted signer's signature says so"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(args: argparse.Namespace) -> int:
    from facefact.generate.known import known_of

    trusted = [_certificates(path) for path in args.trust]
    told: list[dict[str, Any]] = []
    good = True
    for path in args.pictures:
        try:
            known = known_of(path, trusted=trusted)
        except UserError as error:
            good = False
            told.append({"file": str(path), "error": str(error)})
            if not args.json:
                print(_printable(f"facefact: error: {error}"), file=sys.stderr)
            continue
        counts = known.ours and not known.broken and (not args.signed or _signed_by_trusted(known))
        good &= counts
        told.append({"file": str(path), "ours": known.ours, "good": counts} | asdict(known))
        if not args.json:
            print("\n".join(map(_printable, _lines(path, known))))
    if args.json:
        print(json.dumps({"pictures": told}, indent=2))
    return 0 if good else 1


def _certificates(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise UserError(f"--trust {path}: no certificate in PEM")
    return content


def _signed_by_trusted(known: Known) -> bool:
    return known.signature is not None and known.signature.state == "trusted"


def _lines(path: Path, known: Known) -> list[str]:
    verdict = "changed since it was signed" if known.broken else "made by facefact" if known.ours else "not known here"
    lines = [f"{path}: {verdict}", f"  recipe       {_recipe(known)}", f"  source type  {known.source or 'not stated'}"]
    if known.signature is None:
        lines.append("  signature    none")
    else:
        said = asdict(known.signature)
        lines.append(f"  signature    {STATES[known.signature.state].format(**said)}")
        if known.signature.generator:
            inputs = f"; keeps those of {', '.join(known.signature.inputs)}" if known.signature.inputs else ""
            lines.append(f"               {known.signature.source}, by the program {known.signature.generator}{inputs}")
    bits = f"{round(known.mark.agree * 64)} of 64 bits"
    moved = ", in a picture that was cropped or shrunk" if known.mark.moved else ""
    lines.append(f"  mark         {f'found ({bits}{moved})' if known.mark.found else f'not found ({bits} by chance)'}")
    return lines


def _recipe(known: Known) -> str:
    if not known.program or known.program == "damaged":
        return known.program or "none"
    prompt = " ".join(str(known.recipe.get("prompt", "")).split())
    shown = prompt if len(prompt) <= LONGEST else f"{prompt[:LONGEST]}..."
    return f"{known.program}'s{f': {shown}' if shown else ''}"


def _printable(line: str) -> str:
    """Without what would steer a terminal: texts come out of pictures, and pictures from anywhere."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in line)

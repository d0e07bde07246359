"""`facefact sign init`: an own authority, and a key that signs pictures in its name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

NAME = "a facefact user"


def add_parser(subparsers: Any) -> None:
    line = "make a key and certificates that sign pictures (C2PA)"
    parser = subparsers.add_parser("sign", help=line, description=f"{line[0].upper()}{line[1:]}. No network is used.")
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    init = actions.add_parser("init", help="an own authority, and a key and certificates of it")
    init.add_argument(
        "--out", type=Path, metavar="DIR", help="where to (default: ~/.config/facefact/signing, which `verify` trusts)"
    )
    init.add_argument("--name", default=NAME, metavar="NAME", help=f"who signs, as others read it (default: {NAME})")


def run(args: argparse.Namespace) -> int:
    from facefact.generate.certificates import AUTHORITY, CHAIN, KEY, make_credentials, signing_folder

    folder = args.out or signing_folder()
    make_credentials(folder, name=args.name)
    print(f"{folder / KEY}\n{folder / CHAIN}")
    print(f"sign with it: facefact generate --c2pa-key {folder / KEY} --c2pa-cert {folder / CHAIN} ...")
    if args.out is not None:
        print(f"check with it: facefact verify --trust {folder / AUTHORITY} PICTURE")
    return 0

"""`facefact ui`: the studio page on this machine, opened in the browser. It is `facefact serve` with its page."""

from __future__ import annotations

import argparse
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from importlib.util import find_spec
from typing import Any

from facefact.apps.commands import serve
from facefact.types import UserError

WAITS = 120.0  # seconds for the service to answer


def add_parser(subparsers: Any) -> None:
    line = "the studio page: portraits, templates, groups, people, in the browser"
    parser = subparsers.add_parser("ui", help=line, description=f"{line.capitalize()}, on this machine alone.")
    serve.add_options(parser)
    parser.add_argument("--no-browser", action="store_true", help="open no browser: the address is printed")


def run(args: argparse.Namespace) -> int:
    if find_spec("gradio") is None:
        raise UserError("the page needs Gradio: pip install 'facefact[app]'")
    url = f"http://{args.host}:{args.port}"
    if args.port and _answers(url):
        print(f"facefact: it is running already: {url}")
        return 0 if args.no_browser or webbrowser.open(url) else 1
    if args.port and not args.no_browser:
        threading.Thread(target=_open_when_there, args=(url,), daemon=True).start()
    return serve.run(args)


def _open_when_there(url: str) -> None:
    until = time.monotonic() + WAITS
    while time.monotonic() < until:
        if _answers(url):
            webbrowser.open(url)
            return
        time.sleep(0.3)


def _answers(url: str) -> bool:
    """Whether the service, and not something else, is at the address."""
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=2) as answer:
            return b'"ok"' in answer.read(200)
    except (urllib.error.URLError, OSError, ValueError):
        return False

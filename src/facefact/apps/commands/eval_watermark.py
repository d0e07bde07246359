"""`facefact eval watermark`: how well the invisible mark survives what happens to pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from facefact.apps.parser import at_least


def add(protocols: Any) -> None:
    line = "how well the invisible mark survives JPEG, scaling and cropping"
    parser = protocols.add_parser("watermark", help=line, description=f"Measure {line}.")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="real photos besides the world's renders")
    parser.add_argument("--count", type=at_least(1), default=60, help="pictures of each kind (default 60)")
    parser.add_argument(
        "--sizes", type=at_least(128), nargs="+", default=[128, 256, 512], metavar="PX", help="(default 128 256 512)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")


def run(args: argparse.Namespace) -> int:
    import json

    from tqdm import tqdm

    from facefact.checkpoint import replacing
    from facefact.evaluate.watermark import evaluate_watermark, watermark_table

    figures = evaluate_watermark(photos=args.photos, count=args.count, sizes=args.sizes, progress=tqdm)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        with replacing(args.json) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(watermark_table(figures))
    return 0

"""`facefact generate --jobs`: a table of jobs instead of one person and one prompt."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.apps import portraits
from facefact.apps.parser import at_least
from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.generate.batch import Engine, Made

PLACES = ("model", "adapter", "vae", "control_model", "yunet")  # options that may be paths


def add_options(parser: argparse.ArgumentParser) -> None:
    many = parser.add_argument_group("many people: a table of jobs")
    many.add_argument(
        "--jobs",
        type=Path,
        metavar="TABLE",
        help="a .jsonl, .csv or .parquet with one row a person and a prompt (columns: face, prompt, id, count and the "
        "settings by their names; the options here are for rows without); the same command again makes what is "
        "missing, and --out gets an index.jsonl",
    )
    many.add_argument("--engine", choices=("local", "ray"), default="local", help="who does the work (default: local)")
    many.add_argument(
        "--workers", type=at_least(1), metavar="N", help="with --engine ray: open models (default: a GPU)"
    )
    many.add_argument("--ray-address", metavar="HOST:PORT", help="a running Ray cluster (auto: this machine's)")


def check_options(args: argparse.Namespace) -> None:
    """UserError: options that do not fit each other."""
    if args.jobs is None:
        ray = {"--engine ray": args.engine == "ray", "--workers": args.workers, "--ray-address": args.ray_address}
        if given := [name for name, value in ray.items() if value]:
            raise UserError(f"{given[0]} is for a table of jobs: name one with --jobs TABLE")
        if not args.face:
            raise UserError("say whose portraits: --face PICTURE, or a whole table of people with --jobs TABLE")
        return
    if args.face or args.recipe:
        raise UserError("with --jobs the table says whose portraits: leave --face and --recipe out")
    if len(args.prompt or ()) > 1:
        raise UserError("with --jobs one --prompt is for the rows that have none; several prompts are several rows")
    if args.engine == "local" and (args.workers or args.ray_address):
        raise UserError("--workers and --ray-address are of --engine ray")


def run(args: argparse.Namespace) -> int:
    """0: all there; 1: some rows failed, which the last lines and the index say."""
    from facefact.generate.batch import make_batch, summary
    from facefact.generate.batch_table import Row, read_table

    provenance = portraits.provenance_asked(args)
    rows = read_table(args.jobs, model=args.model, common=_common(args))
    prompts = [row.settings.prompt for row in rows if isinstance(row, Row)]
    if prompts:
        portraits.check_prompts(prompts, model=args.model)
    with _Bar() as bar:
        result = make_batch(
            rows,
            args.out,
            _engine(args),
            batch=args.batch,
            form=args.format,
            overwrite=args.overwrite,
            provenance=provenance,
            on_picture=bar.show,
        )
    for line in summary(result):
        print(line, file=sys.stderr)
    entries = [asdict(entry) for entry in result.index]
    if args.json:
        print(json.dumps({"portraits": entries, "made": result.made, "kept": result.kept}, indent=2))
    else:
        print("\n".join(str(args.out / one["file"]) for one in entries if one["state"] == "done"))
    return 1 if result.failed else 0


def _common(args: argparse.Namespace) -> dict[str, Any]:
    """The columns' values for rows that say nothing."""
    named = (*portraits.SETTINGS, "size", "width", "height", "count", "which", "style")
    control = args.control_image and str(args.control_image.absolute())
    prompt = args.prompt[0] if args.prompt else None
    return {name: getattr(args, name) for name in named} | {"prompt": prompt, "control_image": control}


def _engine(args: argparse.Namespace) -> Engine:
    if args.engine == "local":
        from facefact.generate.batch import LocalEngine

        return LocalEngine(partial(portraits.open_studio, args), batch=args.batch)
    from facefact.generate.batch_ray import RayEngine

    there = partial(portraits.open_studio, _anywhere(args))
    gpu = args.device is None or args.device.startswith("cuda")
    return RayEngine(there, batch=args.batch, workers=args.workers, address=args.ray_address, gpu=gpu)


def _anywhere(args: argparse.Namespace) -> argparse.Namespace:
    """The same with whole paths: a worker starts in another folder."""
    from facefact.generate.parts import Lora

    found = dict(vars(args))
    for name in PLACES:
        if found[name] is not None and os.path.exists(os.path.expanduser(found[name])):
            found[name] = os.path.abspath(os.path.expanduser(found[name]))
    loras = [Lora.parse(one) for one in args.lora]
    return argparse.Namespace(**found | {"lora": [f"{one.file.absolute()}:{one.weight!r}" for one in loras]})


class _Bar:
    """On stderr, in pictures."""

    def __init__(self) -> None:
        self.bar: Any = None

    def show(self, made: Made, done: int, of: int) -> None:
        from tqdm import tqdm

        self.bar = self.bar or tqdm(total=of, unit="picture", dynamic_ncols=True, file=sys.stderr)
        self.bar.set_postfix_str(made.name, refresh=False)
        self.bar.update(done - self.bar.n)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.close()

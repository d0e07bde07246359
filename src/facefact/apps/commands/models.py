"""`facefact models`: what is here, published files made usable, and models from the hub, when asked."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.generate.models import Listed

CARD = "README.md"
PRUNED = (
    "## Layers taken out\n\nThese blocks of the base model have no layer any more (`facefact models prune`); figures "
    "and sizes above are those of the adapter with them."
)
FACECHAIN_LICENCE = "the published weights have their own terms: see the place where you got them"


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("models", help="list, import and pull models; their licences")
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the demo model, and what is in $FACEFACT_HOME (~/.cache/facefact)")
    listing.add_argument("--json", action="store_true", help="print it as JSON")
    terms = actions.add_parser("licences", help="under which licences models and their parts are")
    terms.add_argument(
        "models", nargs="*", metavar="MODEL", help="by directory, file or name (default: those of `list`)"
    )
    terms.add_argument("--adapter", metavar="DIR|NAME", help="with this adapter")
    terms.add_argument("--vae", metavar="DIR|FILE", help="with this autoencoder")
    terms.add_argument(
        "--lora", action="append", default=[], metavar="FILE", help="with this LoRA; repeat it for several"
    )
    terms.add_argument("--control-model", metavar="DIR", help="with this ControlNet")
    terms.add_argument("--yunet", metavar="FILE.onnx", help="with this YuNet finding faces")
    terms.add_argument("--json", action="store_true", help="print it as JSON")
    convert = actions.add_parser("import", help="make an adapter directory of the published FaceChain-FACT files")
    convert.add_argument("--adapter", type=Path, required=True, metavar="FILE.ckpt", help="the adapter's checkpoint")
    convert.add_argument("--encoder", type=Path, required=True, metavar="FILE.pt", help="the TransFace checkpoint")
    convert.add_argument("--out", type=Path, metavar="DIR", help="where to (default: among the models that are listed)")
    prune = actions.add_parser("prune", help="an adapter without some of its layers: those that do nothing")
    prune.add_argument("adapter", metavar="ADAPTER", help="a directory or a hub id; it stays as it is")
    prune.add_argument(
        "--layers",
        nargs="+",
        action="extend",
        required=True,
        metavar="BLOCK",
        help="the base model's blocks that get none, by name, or what several begin with (up_blocks.1); the report of "
        "a training names those that do nothing",
    )
    prune.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to")
    fetch = actions.add_parser("pull", help="fetch a model from the hub, or the published FACT (uses the network)")
    fetch.add_argument(
        "name",
        metavar="OWNER/NAME|facechain-fact",
        help="a base model or an adapter of the hub; facechain-fact: the published adapter, encoder and photo model, "
        "from ModelScope (facechain-fact-film: in the style of film)",
    )
    fetch.add_argument("--yes", action="store_true", help="do not ask before fetching the published files")


def run(args: argparse.Namespace) -> int:
    return {"list": _list, "licences": _licences, "import": _import, "prune": _prune, "pull": _pull}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from facefact.demo import bundle_path
    from facefact.generate import describe, list_models

    models = [describe(bundle_path(), name="demo"), *list_models()]
    if args.json:
        print(json.dumps([asdict(model) | {"path": str(model.path)} for model in models], indent=2))
        return 0
    for model in models:
        print(_line(model))
    return 0


def _licences(args: argparse.Namespace) -> int:
    from facefact.faces import get_detector
    from facefact.generate import list_models
    from facefact.generate.licences import detector_licences, licence_of, licences

    found = detector_licences(get_detector(model=args.yunet))
    added = {"adapter": args.adapter, "vae": args.vae, "loras": args.lora, "control_model": args.control_model}
    for name in args.models or ["demo"]:
        found += licences(model=name, **added)
    if not args.models:
        found += [licence_of(one.kind.replace("pipeline", "model"), one.name, one.path) for one in list_models()]
    if args.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
        return 0
    for one in found:
        print(f"{one.part:<14} {one.name:<28} commercial use: {one.commercial:<8} {one.licence or '-'}  ({one.source})")
    return 0


def _line(model: Listed) -> str:
    licence = model.licence or "licence not stated"
    return f"{model.name:<32} {model.kind:<9} {model.size / 1e6:>9.1f} MB  {licence:<20} {model.path}"


def _import(args: argparse.Namespace) -> int:
    from facefact.face_adapter import FaceAdapter
    from facefact.generate import models_dir

    out = args.out or models_dir() / args.adapter.stem
    _refuse_taken(out)
    for path in (args.adapter, args.encoder):
        if not path.is_file():
            raise UserError(f"{path}: there is no such file")
    FaceAdapter.from_facechain(adapter=args.adapter, encoder=args.encoder).save_pretrained(out)
    print(f"{out}\nuse it: facefact generate --model SD1.5-DIR --adapter {out} ...   ({FACECHAIN_LICENCE})")
    return 0


def _refuse_taken(out: Path) -> None:
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise UserError(f"{out} is already there: choose another --out")


def _prune(args: argparse.Namespace) -> int:
    """The adapter without the named layers, in a directory of its own; a card that lies beside it goes along, and says
    so."""
    from facefact.face_adapter import FaceAdapter

    _refuse_taken(args.out)
    whole = FaceAdapter.from_pretrained(args.adapter, dtype=None)
    pruned = whole.without(args.layers)
    taken = [name for name in whole.layers.configs if name not in pruned.layers.configs]
    card = Path(args.adapter) / CARD
    pruned.save_pretrained(args.out)
    if card.is_file():
        listed = "\n".join(f"- `{name}`" for name in taken)
        told = f"{PRUNED}\n\n{listed}\n"
        (args.out / CARD).write_text(f"{card.read_text(encoding='utf-8').rstrip()}\n\n{told}", encoding="utf-8")
    print(f"{args.out}\nwithout {len(taken)} of {len(whole.layers)} layers: {', '.join(taken)}")
    return 0


def _pull(args: argparse.Namespace) -> int:
    from facefact.generate import describe, models_dir, pull
    from facefact.generate.published import PUBLICATIONS

    if (models_dir() / args.name.replace("/", "--")).is_dir():
        raise UserError(f"{args.name} is already in {models_dir()}: remove it there to fetch it again")
    fetched = _pull_published(args) if args.name in PUBLICATIONS else pull(args.name)
    if fetched is not None:
        print(_line(describe(fetched)))
    return 0


def _pull_published(args: argparse.Namespace) -> Path | None:
    """Says what would come and under which terms, asks, fetches; None if the answer is no."""
    from facefact.generate.published import fetch, plan, site

    where = site()
    planned = plan(args.name, site=where)
    for source in planned.sources:
        print(f"{source.size / 1e6:>9.1f} MB  {source.repository} {source.revision}  {source.path}")
    print(f"{sum(source.size for source in planned.sources) / 1e6:>9.1f} MB  from {where}")
    for name, licence in planned.licences.items():
        print(f"{name}: {licence or 'licence not stated: see its page'}")
    if not args.yes and not _agreed():
        return None
    return fetch(planned, site=where, progress=_bars())


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UserError("nothing was fetched: say --yes to fetch these files under these terms")
    return input("Fetch them? [y/N] ").strip().lower() in ("y", "yes")


def _bars() -> Callable[[str, int, int], None]:
    """One bar a file, in bytes."""
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def show(path: str, done: int, total: int) -> None:
        if path not in bars:
            bars[path] = tqdm(desc=Path(path).name, total=total, unit="B", unit_scale=True)
        bars[path].update(done - bars[path].n)
        if done >= total:
            bars[path].close()

    return show

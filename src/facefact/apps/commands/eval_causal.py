"""`facefact eval causal`: one factor of the reference is changed, all factors of the result are read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.apps.options import add_bundle
from facefact.apps.parser import at_least
from facefact.apps.progress import show, silence_loading
from facefact.demo import SCALE
from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.evaluate.causal.generators import Generator

METHODS = ("fact", "without-fair", "base", "image-to-image")


def add_methods(parser: argparse.ArgumentParser) -> None:
    """What is compared."""
    parser.add_argument("--adapter", type=Path, metavar="DIR", help="of the bundle's base (default: the embedded one)")
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        default=list(METHODS),
        metavar="NAME",
        help=f"what is compared; the first is what the others are less than (default: {' '.join(METHODS)})",
    )
    add_beside(parser)


def add_beside(parser: argparse.ArgumentParser) -> None:
    """More adapters."""
    parser.add_argument(
        "--beside",
        type=named_folder,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="another adapter of the same base, a peer of `eval claims` too; repeat it for several",
    )


def named_folder(text: str) -> tuple[str, Path]:
    name, is_there, folder = text.partition("=")
    if not is_there or not name.strip() or not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR")
    return name.strip(), Path(folder)


def add_making(parser: argparse.ArgumentParser) -> None:
    """How the pictures are made, and what reads them."""
    parser.add_argument("--steps", type=at_least(1), default=12, help="denoising steps (default 12)")
    parser.add_argument("--scale", type=float, help=f"of the adapter (default {SCALE}, with --photos 0.7)")
    parser.add_argument("--guidance-scale", type=float, default=3.0, help="of the text (default 3)")
    parser.add_argument("--strength", type=float, default=0.6, help="of image-to-image, in (0, 1] (default 0.6)")
    parser.add_argument(
        "--renders", type=at_least(100), default=800, metavar="N", help="that the reader is fitted on (default 800)"
    )
    add_bundle(parser)


def add(protocols: Any) -> None:
    line = "change one factor of the reference at a time, and read all factors of the result"
    parser = protocols.add_parser("causal", help="the causal identity benchmark", description=f"{line.capitalize()}.")
    add_methods(parser)
    parser.add_argument("--people", type=at_least(4), default=16, help="unseen people (default 16)")
    parser.add_argument("--seed", type=int, default=1, help="other people, looks and noise (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures and matrices go")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="where the matrices are drawn, side by side")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="where pictures of the first person go")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a report folder: report.json, .html and .md")
    add_making(parser)
    parser.add_argument(
        "--photos", type=Path, metavar="DIR", help="pairs of photos instead, a folder for each person; needs --model"
    )
    parser.add_argument("--model", metavar="MODEL", help="with --photos: the base model that --adapter belongs to")
    parser.add_argument("--prompt", default="portrait of a person", help="with --photos: what is asked for")
    parser.add_argument("--pairs", type=at_least(1), default=4, help="with --photos: of each person (default 4)")
    parser.add_argument("--yunet", type=Path, metavar="FILE.onnx", help="with --photos: find faces with this YuNet")


def run(args: argparse.Namespace) -> int:
    """Prints the table as Markdown."""
    if not 0 < args.strength <= 1:
        raise UserError(f"--strength {args.strength:g}: image-to-image takes more than 0, and 1 at most")
    if args.photos is not None:
        return _photos(args)
    if args.model is not None:
        raise UserError("--model is about photos (--photos DIR); a bundle of the world is named with --bundle")
    from facefact.evaluate.causal.page import draw, markdown, reading_markdown, sheet
    from facefact.evaluate.causal.run import report

    silence_loading()
    measured = _measured(args)
    found = report(measured)
    _write(found, args.json)
    if args.sheet:
        _save(sheet(measured), args.sheet)
    if args.plot:
        try:
            draw(found, args.plot)
        except ImportError:
            print("no plot is drawn without matplotlib: pip install matplotlib", file=sys.stderr)
    if args.out:
        from facefact.evaluate.report.causal import causal_report
        from facefact.evaluate.report.folder import write_folder

        write_folder(causal_report(measured, found), args.out)
    print(markdown(found))
    print(reading_markdown(found), end="")
    return 0


def _measured(args: argparse.Namespace) -> Any:
    from facefact.demo import bundle_path, judges_path
    from facefact.evaluate.causal.reading import Reader
    from facefact.evaluate.causal.run import Plan, measure, report
    from facefact.evaluate.judges import Judges
    from facefact.generate import model_hash

    bundle, judges_at = args.bundle or bundle_path(), args.judges or judges_path()
    judges, plan = Judges.open(judges_at, bundle), Plan.of(args.seed, args.people)
    compared = generators(args, bundle, judges_at, judges)
    sampling = {"steps": args.steps, "guidance_scale": args.guidance_scale, "scale": scale_of(args)}
    models = {"base": model_hash(bundle), "adapter": model_hash(args.adapter or bundle / "adapter")}
    models |= {name: model_hash(folder) for name, folder in args.beside}
    about = {"sampling": sampling | {"strength": args.strength}, "models": models, "fitted_on": args.renders}

    def keep(so_far: Any) -> None:
        _write(report(so_far), args.json)

    reader = Reader.fit(judges, people=args.renders)
    return measure(plan, compared, reader, about=about, keep=keep, progress=show)


def scale_of(args: argparse.Namespace, own: float = SCALE) -> float:
    """Of the adapter: what is asked for, or the model's own."""
    return own if args.scale is None else float(args.scale)


def generators(args: argparse.Namespace, bundle: Path, judges_at: Path, judges: Any) -> list[Generator]:
    """The methods that are compared, on one base model."""
    from facefact.adapter import fast_kernels
    from facefact.device import choose_device
    from facefact.evaluate.causal.generators import Adapted, Pipeline, from_picture, sampled
    from facefact.evaluate.pictures import Sampling
    from facefact.generate import load_base
    from facefact.train.peers.decoupled import open_adapter

    sampling = Sampling(steps=args.steps, guidance_scale=args.guidance_scale, scale=scale_of(args))
    device = choose_device(args.device)
    pipe = load_base(bundle, device=device)
    crops: dict[bytes, Any] = {}
    if device.type == "cpu":
        fast_kernels(pipe)

    def adapted(name: str, folder: Path) -> Generator:
        adapter = open_adapter(folder)
        return Adapted(name=name, pipe=pipe, adapter=adapter, detector=judges.detector, sampling=sampling, crops=crops)

    makers = {
        "fact": lambda: adapted("FACT", args.adapter or bundle / "adapter"),
        "without-fair": lambda: adapted("FACT without FAIR", judges_at / "adapter_without_fair"),
        "base": lambda: Pipeline(name="base model", pipe=pipe, arguments=sampled(sampling), batch=sampling.batch),
        "image-to-image": lambda: from_picture(pipe, sampling, strength=args.strength),
    }
    return [*(makers[name]() for name in args.methods), *(adapted(name, folder) for name, folder in args.beside)]


def _photos(args: argparse.Namespace) -> int:
    from facefact.device import choose_device
    from facefact.evaluate.causal.generators import Adapted, Pipeline, from_picture, sampled
    from facefact.evaluate.causal.photos import markdown, measure_photos, photo_pairs
    from facefact.evaluate.pictures import Sampling
    from facefact.faces import get_detector
    from facefact.generate import load_base, locate
    from facefact.train.peers.decoupled import open_adapter

    if args.model is None or args.adapter is None:
        raise UserError("--photos needs the model that is measured: --model MODEL --adapter DIR")
    silence_loading()
    detector = get_detector(model=args.yunet)
    pairs = photo_pairs(args.photos, detector, per_person=args.pairs, progress=show)
    pipe = load_base(locate(args.model), device=choose_device(args.device))
    sampling = Sampling(
        steps=args.steps, guidance_scale=args.guidance_scale, scale=scale_of(args, 0.7), face_guidance=True, batch=2
    )

    def adapted(name: str, folder: Path) -> Generator:
        return Adapted(name=name, pipe=pipe, adapter=open_adapter(folder), detector=detector, sampling=sampling)

    compared: list[Generator] = [
        adapted("FACT", args.adapter),
        Pipeline(name="base model", pipe=pipe, arguments=sampled(sampling)),
        from_picture(pipe, sampling, strength=args.strength),
        *(adapted(name, folder) for name, folder in args.beside),
    ]
    found = measure_photos(pairs, compared, detector, prompt=args.prompt, seed=args.seed, progress=show)
    _write(found, args.json)
    print(markdown(found), end="")
    return 0


def _write(found: dict[str, Any], path: Path | None) -> None:
    import json

    from facefact.checkpoint import replacing

    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(found) + "\n", encoding="utf-8")


def _save(picture: Any, path: Path) -> None:
    from facefact.checkpoint import replacing

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")

"""`facefact eval photos`: methods side by side on one's own people and prompts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.apps.commands.eval_causal import add_beside
from facefact.apps.parser import at_least
from facefact.apps.progress import show, silence_loading
from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.evaluate.causal.generators import Generator

METHODS = ("fact", "base", "image-to-image")


def add(protocols: Any) -> None:
    line = "methods side by side on one's own people and prompts, as a report folder"
    parser = protocols.add_parser("photos", help=line, description=f"{line.capitalize()}. Again: it goes on.")
    parser.add_argument("suite", type=Path, metavar="SUITE", help="people/NAME/*.jpg, prompts.txt, without.txt")
    parser.add_argument("--model", required=True, metavar="MODEL", help="the base model that --adapter belongs to")
    parser.add_argument("--adapter", type=Path, required=True, metavar="DIR", help="the adapter that is measured")
    add_beside(parser)
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        default=list(METHODS),
        metavar="NAME",
        help=f"what is compared besides; the first is what the others are less than (default: {' '.join(METHODS)})",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the pictures and the report")
    parser.add_argument("--people", type=at_least(2), default=15, help="at most so many, by name (default 15)")
    parser.add_argument("--prompts", type=at_least(1), default=40, help="at most so many lines (default 40)")
    parser.add_argument("--each", type=at_least(1), default=4, help="pictures of a person and prompt (default 4)")
    parser.add_argument(
        "--recogniser",
        nargs="+",
        default=["dlib"],
        metavar="NAME",
        help="dlib, insightface, or the folder of a TransFace; several: figures by each (default dlib)",
    )
    parser.add_argument("--clip", type=Path, metavar="DIR", help="a CLIP with its tokenizer: text following, KID")
    parser.add_argument("--seed", type=int, default=1, help="other noise (default 1)")
    parser.add_argument("--steps", type=at_least(1), default=30, help="denoising steps (default 30)")
    parser.add_argument("--scale", type=float, default=0.7, help="of the adapter (default 0.7)")
    parser.add_argument("--guidance-scale", type=float, default=5.0, help="of the text (default 5)")
    parser.add_argument("--strength", type=float, default=0.6, help="of image-to-image, in (0, 1] (default 0.6)")
    parser.add_argument("--batch", type=at_least(1), default=4, help="pictures at a time (default 4)")
    parser.add_argument("--yunet", type=Path, metavar="FILE.onnx", help="find faces with this YuNet model")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")


def run(args: argparse.Namespace) -> int:
    """Writes the folder and prints its table as Markdown."""
    from facefact.device import choose_device
    from facefact.evaluate.photos.layout import read_layout
    from facefact.evaluate.photos.run import PhotoSuite, run_photos
    from facefact.evaluate.report.folder import as_markdown, write_folder
    from facefact.faces import get_detector

    if not 0 < args.strength <= 1:
        raise UserError(f"--strength {args.strength:g}: image-to-image takes more than 0, and 1 at most")
    silence_loading()
    device, detector = choose_device(args.device), get_detector(model=args.yunet)
    judge = _judge(args, detector, device)
    layout = read_layout(args.suite, detector, people=args.people, prompts=args.prompts, progress=show)
    base, compared, hashes = _methods(args, detector, device)
    names = ("seed", "each", "steps", "scale", "guidance_scale", "strength")
    decides = {name: getattr(args, name) for name in names if name not in ("seed", "each")} | {"models": hashes}
    about: dict[str, Any] = {name: getattr(args, name) for name in names} | {
        "people": len(layout.people),
        "prompts": len(layout.prompts),
        "photos without a usable face": len(layout.skipped),
        "recognisers": {name: one.name for name, one in judge.recognisers.items()},
        "clip": judge.clip.name if judge.clip else "none: no figure of the text",
        "detector": detector.name,
        "models": hashes,
    }
    suite = PhotoSuite(layout, judge, args.out, decides, args.each, args.seed, max(20, args.batch), show)
    made = run_photos(suite, compared, base, about)
    write_folder(made, args.out)
    print(as_markdown(made), end="")
    return 0


def _judge(args: argparse.Namespace, detector: Any, device: Any) -> Any:
    from facefact.evaluate.photos.figures import Judge
    from facefact.evaluate.photos.text import Clip
    from facefact.evaluate.recognisers import open_named

    recognisers = {Path(name).name: open_named(name) for name in args.recogniser}
    if len(recognisers) < len(args.recogniser):
        raise UserError(f"--recogniser {' '.join(args.recogniser)}: two have one name")
    return Judge(detector, recognisers, Clip.open(args.clip, device=device) if args.clip else None)


def _methods(args: argparse.Namespace, detector: Any, device: Any) -> tuple[Generator, list[Generator], dict[str, str]]:
    """The base model, what is compared, and the hashes of all models."""
    from facefact.evaluate.causal.generators import Adapted, Pipeline, from_picture, sampled
    from facefact.evaluate.pictures import Sampling
    from facefact.generate import load_base, locate, model_hash
    from facefact.train.peers.decoupled import open_adapter

    place = locate(args.model)
    pipe = load_base(place, device=device)
    sampling = Sampling(
        steps=args.steps,
        guidance_scale=args.guidance_scale,
        scale=args.scale,
        face_guidance=True,
        batch=args.batch,
    )
    crops: dict[bytes, Any] = {}

    def adapted(name: str, folder: Path) -> Generator:
        return Adapted(
            name=name, pipe=pipe, adapter=open_adapter(folder), detector=detector, sampling=sampling, crops=crops
        )

    base = Pipeline(name="base model", pipe=pipe, arguments=sampled(sampling), batch=args.batch)
    makers = {
        "fact": lambda: adapted("FACT", args.adapter),
        "base": lambda: base,
        "image-to-image": lambda: from_picture(pipe, sampling, strength=args.strength),
    }
    compared: list[Generator] = [makers[name]() for name in args.methods]
    compared += [adapted(name, folder) for name, folder in args.beside]
    hashes = {"base": model_hash(place), "FACT": model_hash(args.adapter)}
    return base, compared, hashes | {name: model_hash(folder) for name, folder in args.beside}

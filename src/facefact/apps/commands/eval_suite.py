"""`facefact eval suite`: methods side by side with every metric, as a report folder; `facefact eval recogniser`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from facefact.apps.commands.eval_causal import add_making, add_methods, generators, scale_of
from facefact.apps.parser import at_least
from facefact.apps.progress import show, silence_loading
from facefact.types import UserError


def add(protocols: Any) -> None:
    line = "methods side by side on the portrait world, with every metric, as a report folder"
    parser = protocols.add_parser("suite", help=line, description=f"{line.capitalize()}.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="report.json, report.html, report.md")
    add_methods(parser)
    parser.add_argument("--seed", type=int, default=1, help="other people, looks and noise (default 1)")
    parser.add_argument("--seeds", type=at_least(1), default=1, metavar="K", help="so many galleries (default 1)")
    parser.add_argument("--people", type=at_least(6), default=60, help="unseen people of each gallery (default 60)")
    parser.add_argument("--per-person", type=at_least(2), default=2, help="pictures of each (default 2)")
    parser.add_argument("--faces", type=at_least(2), default=3, help="of one prompt, for diversity (default 3)")
    add_making(parser)
    _add_recogniser(protocols)


def _add_recogniser(protocols: Any) -> None:
    line = "check a recogniser of photos, as it is wrapped here: AUC and accuracy of pairs"
    parser = protocols.add_parser("recogniser", help=line, description=f"{line.capitalize()}.")
    parser.add_argument("name", metavar="NAME", help="dlib, insightface, or the folder of a TransFace")
    parser.add_argument("photos", type=Path, metavar="DIR", help="a folder of photos for each person, such as LFW's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go; the ROC curve is drawn beside")
    parser.add_argument("--seed", type=int, default=0, help="other folds (default 0)")
    parser.add_argument("--yunet", type=Path, metavar="FILE.onnx", help="find faces with this YuNet model")


def run(args: argparse.Namespace) -> int:
    """Writes the folder and prints its table as Markdown."""
    from facefact.evaluate.report.folder import as_markdown, write_folder
    from facefact.evaluate.report.suite import suite_report
    from facefact.evaluate.suite import run_suite
    from facefact.generate import model_hash

    if not 0 < args.strength <= 1:
        raise UserError(f"--strength {args.strength:g}: image-to-image takes more than 0, and 1 at most")
    silence_loading()
    bundle, judges_at, judges, reader = _opened(args)
    compared = generators(args, bundle, judges_at, judges)
    base = next((one for one in compared if one.name == "base model"), None)
    if base is None:
        base = generators(_base_alone(args), bundle, judges_at, judges)[0]
    suite = run_suite(
        compared,
        base,
        judges,
        reader,
        seed=args.seed,
        seeds=args.seeds,
        people=args.people,
        per_person=args.per_person,
        faces=args.faces,
        progress=show,
    )
    names = ("seed", "seeds", "people", "per_person", "faces", "steps", "scale", "guidance_scale", "strength")
    about = {name: getattr(args, name) for name in names} | {"scale": scale_of(args)}
    models = {"base": model_hash(bundle), "adapter": model_hash(args.adapter or bundle / "adapter")}
    models |= {name: model_hash(folder) for name, folder in args.beside}
    made = suite_report(suite, about | {"models": models})
    write_folder(made, args.out)
    print(as_markdown(made), end="")
    return 0


def _opened(args: argparse.Namespace) -> tuple[Path, Path, Any, Any]:
    from facefact.demo import bundle_path, judges_path
    from facefact.evaluate.causal.reading import Reader
    from facefact.evaluate.judges import Judges
    from facefact.evaluate.suite import no_dark_glasses

    bundle, judges_at = args.bundle or bundle_path(), args.judges or judges_path()
    judges = Judges.open(judges_at, bundle)
    return bundle, judges_at, judges, Reader.fit(judges, people=args.renders, looks=no_dark_glasses)


def _base_alone(args: argparse.Namespace) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(args), "methods": ["base"], "beside": []})


def recogniser_figures(args: argparse.Namespace) -> dict[str, Any]:
    """Of `facefact eval recogniser`."""
    from facefact.evaluate.recognisers import evaluate_recogniser
    from facefact.faces import get_detector

    detector = get_detector(model=args.yunet)
    return evaluate_recogniser(args.name, args.photos, detector, seed=args.seed, progress=show)

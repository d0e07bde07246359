"""`facefact eval`: figures on people that no training saw."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from facefact.apps.commands import (
    eval_causal,
    eval_claims,
    eval_groups,
    eval_inpaint,
    eval_layers,
    eval_photos,
    eval_suite,
    eval_watermark,
)
from facefact.apps.commands.eval_layers import add_table
from facefact.apps.options import add_bundle
from facefact.apps.parser import at_least
from facefact.apps.progress import show, silence_loading
from facefact.demo import GUIDANCE_SCALE, SCALE
from facefact.types import UserError


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("eval", help="measure a model", description="Measure a model on unseen people.")
    protocols = parser.add_subparsers(title="protocols", dest="protocol", metavar="PROTOCOL", required=True)
    _add_world(protocols)
    _add_encoder(protocols)
    _add_ablation(protocols)
    _add_steps(protocols)
    _add_local(protocols)
    eval_claims.add(protocols)
    eval_causal.add(protocols)
    eval_suite.add(protocols)
    eval_photos.add(protocols)
    eval_groups.add(protocols)
    eval_inpaint.add(protocols)
    eval_watermark.add(protocols)
    _add_avatar(protocols)
    eval_layers.add(protocols)


def _add_world(protocols: Any) -> None:
    line = "score a bundle on unseen people of the portrait world"
    parser = protocols.add_parser("world", help=line, description=f"{line.capitalize()}.")
    parser.add_argument("--seed", type=int, default=1, help="other people, looks and noise (default 1)")
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        metavar="K",
        help="so many seeds from --seed on, pooled; intervals cover galleries and people (default 1)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument(
        "--out",
        type=Path,
        nargs="+",
        default=[],
        metavar="MD",
        help="pages whose table, between <!-- FIGURES --> and <!-- /FIGURES -->, becomes that of these figures",
    )
    parser.add_argument("--people", type=int, default=100, help="unseen people of each seed (default 100)")
    parser.add_argument("--per-person", type=int, default=4, help="pictures of each (default 4)")
    parser.add_argument("--steps", type=at_least(1), default=12, help="denoising steps (default 12)")
    parser.add_argument("--scale", type=float, default=SCALE, help=f"of the adapter (default {SCALE})")
    parser.add_argument(
        "--guidance-scale", type=float, default=GUIDANCE_SCALE, help=f"of the text (default {GUIDANCE_SCALE})"
    )
    parser.add_argument("--face-guidance", action="store_true", help="guidance strengthens the face, too")
    add_bundle(parser)


def _add_encoder(protocols: Any) -> None:
    line = "score a face encoder: verification and identification of people that it has never seen"
    parser = protocols.add_parser("encoder", help=line, description=f"{line.capitalize()}.")
    parser.add_argument(
        "path",
        type=Path,
        metavar="PATH",
        help="RUN or RUN/encoder of `recipe: encoder`, a face adapter's directory, or a published TransFace .pt",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go; the ROC curve is drawn beside")
    parser.add_argument("--seed", type=int, default=1, help="other people and looks (default 1)")
    parser.add_argument("--people", type=int, default=200, help="unseen people (default 200)")
    parser.add_argument("--per-person", type=int, default=4, help="pictures of each (default 4)")
    parser.add_argument(
        "--look",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="what all pictures of a person but the first have, for instance glasses=sun hat=cap",
    )
    parser.add_argument("--photos", type=Path, metavar="DIR", help="real photos instead, a folder for each person")
    parser.add_argument("--yunet", type=Path, metavar="FILE.onnx", help="find faces with this YuNet model")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")


def _add_ablation(protocols: Any) -> None:
    line = "train an adapter in several ways, and compare them on unseen people"
    parser = protocols.add_parser("ablation", help=line, description=f"{line.capitalize()}.")
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the arms, for instance configs/ablation.yaml")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder of all trainings; the same one again: goes on where it stopped",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures here besides DIR/ablation.json")
    parser.add_argument("--only", nargs="+", action="extend", default=[], metavar="ARM", help="only these arms")
    parser.add_argument("--pictures", action="store_true", help="make pictures too, and have them judged (slow)")
    parser.add_argument("--judges", type=Path, help="of the pictures (default: the embedded ones)")


def _add_steps(protocols: Any) -> None:
    line = "few denoising steps, other samplers, no guidance; and the face in a part of the noise schedule alone"
    parser = protocols.add_parser("steps", help="quality against denoising steps", description=f"Measure {line}.")
    add_table(parser)
    parser.add_argument(
        "--only",
        choices=("curve", "schedule"),
        help="quality against steps, or the parts of the schedule (default: both)",
    )
    parser.add_argument(
        "--steps", type=at_least(1), nargs="+", metavar="N", help="of the curve (default 1 2 4 8 12 25)"
    )
    parser.add_argument(
        "--schedulers",
        nargs="+",
        metavar="NAME",
        help="of the curve: ddim, ddpm, dpm++ 2m, unipc, lcm (default: ddim, dpm++ 2m, lcm)",
    )
    parser.add_argument("--guidance-scale", type=float, nargs="+", metavar="SCALE", help="of the curve (default 3 1)")
    parser.add_argument(
        "--between",
        type=_part,
        nargs="+",
        metavar="START:END",
        help="parts of the schedule (default: starts of 0 to 0.4, ends of 1 to 0.5)",
    )


def _add_local(protocols: Any) -> None:
    line = "what local mode loses against exact mode, and what of the adapter's work it saves"
    parser = protocols.add_parser("local", help=line, description=f"Measure {line}.")
    add_table(parser)
    parser.add_argument("--steps", type=at_least(1), default=12, metavar="N", help="denoising steps (default 12)")


def _add_avatar(protocols: Any) -> None:
    line = "whether the avatar that the demo model gets for a photo is that person's"
    parser = protocols.add_parser("avatar", help=line, description=f"Measure {line}.")
    parser.add_argument("photos", type=Path, metavar="DIR", help="a folder of photos for each person, such as LFW's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument("--fit", type=Path, metavar="FILE", help="write the calibration that all these photos give")
    parser.add_argument("--seed", type=int, default=0, help="another split of the people (default 0)")
    parser.add_argument("--yunet", type=Path, metavar="FILE.onnx", help="find faces with this YuNet model: five points")


def _part(text: str) -> tuple[float, float]:
    try:
        start, end = (float(number) for number in text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no part of a schedule such as 0.1:1") from None
    return start, end


def run(args: argparse.Namespace) -> int:
    if getattr(args, "json", None) and args.json.is_dir():  # (said before hours of work, not after)
        raise UserError(f"{args.json} is a folder: name a file in it")
    if args.protocol == "ablation":
        return _ablation(args)
    if args.protocol in TABLES:
        return TABLES[args.protocol](args)
    from facefact.evaluate.figures_page import write_table

    reports = {
        "avatar": _avatar,
        "encoder": _encoder,
        "groups": eval_groups.figures,
        "inpaint": eval_inpaint.figures,
        "recogniser": eval_suite.recogniser_figures,
        "world": _world,
    }
    report = reports[args.protocol](args)
    if args.json:
        _write(report, args.json)
    for page in getattr(args, "out", []):
        write_table(page, report)
    print("\n".join(table({name: value for name, value in report.items() if name != "roc"})))
    return 0


def _world(args: argparse.Namespace) -> dict[str, Any]:
    from facefact.demo import bundle_path, judges_path
    from facefact.device import choose_device
    from facefact.evaluate.pictures import Sampling
    from facefact.evaluate.world import evaluate_world

    silence_loading()
    return evaluate_world(
        args.bundle or bundle_path(),
        args.judges or judges_path(),
        seed=args.seed,
        seeds=args.seeds,
        people=args.people,
        per_person=args.per_person,
        sampling=Sampling(
            steps=args.steps,
            guidance_scale=args.guidance_scale,
            scale=args.scale,
            face_guidance=args.face_guidance,
        ),
        device=choose_device(args.device),
        progress=show,
    )


def _encoder(args: argparse.Namespace) -> dict[str, Any]:
    from facefact.device import choose_device
    from facefact.evaluate.encoder import evaluate_encoder, open_encoder, photo_album, world_album
    from facefact.faces import get_detector

    encoder, device = open_encoder(args.path), choose_device(args.device)
    wearing = dict(one.partition("=")[::2] for one in args.look)
    if args.photos is None:
        album = world_album(args.seed, people=args.people, per_person=args.per_person, wearing=wearing, progress=show)
        about: dict[str, Any] = {"seed": args.seed, "look": wearing}
    elif wearing:
        raise UserError("--look is about the portrait world, --photos about photos: choose one")
    else:
        album = photo_album(args.photos, detector=get_detector(model=args.yunet), progress=show)
        about = {"seed": args.seed, "photos": args.photos.resolve().name}
    return about | evaluate_encoder(encoder, album, seed=args.seed, device=device)


def _avatar(args: argparse.Namespace) -> dict[str, Any]:
    from facefact.evaluate import avatar
    from facefact.faces import get_detector
    from facefact.world.likeness.calibration import as_json

    photos = avatar.read_photos(args.photos, detector=get_detector(model=args.yunet), progress=show)
    if args.fit:
        scales = avatar.fitted(photos.told, photos.people)
        _write({kind: as_json(one) for kind, one in scales.items()}, args.fit)
    return avatar.measure(photos, seed=args.seed)


def _ablation(args: argparse.Namespace) -> int:
    """Prints its tables as Markdown."""
    if find_spec("accelerate") is None:
        raise UserError("an ablation trains, which needs Accelerate: pip install 'facefact[train]'")
    from facefact.demo import judges_path
    from facefact.evaluate.ablation import Pictures, run_ablation
    from facefact.evaluate.ablation_page import markdown

    silence_loading()
    pictures = Pictures(args.judges or judges_path()) if args.pictures else None
    report = run_ablation(args.config, args.out, only=args.only, pictures=pictures, progress=show)
    if args.json:
        _write(report, args.json)
    print(markdown(report), end="")
    return 0


def _steps(args: argparse.Namespace) -> int:
    """Prints the table as Markdown, and draws it beside the JSON."""
    from facefact.evaluate import sampling

    wanted = {"steps": args.steps, "schedulers": args.schedulers, "guidance": args.guidance_scale}
    chosen = {
        "curve": sampling.curve(**{name: value for name, value in wanted.items() if value}),
        "schedule": sampling.parts(args.between),
    }
    rows = _table(args, chosen[args.only] if args.only else [*chosen["schedule"], *chosen["curve"]])
    try:
        sampling.draw(rows, args.json.with_suffix(".png"))
    except ImportError:
        print("no plot is drawn without matplotlib: pip install matplotlib", file=sys.stderr)
    print(sampling.markdown(rows), end="")
    return 0


def _local(args: argparse.Namespace) -> int:
    """Prints the table as Markdown."""
    from facefact.evaluate import sampling

    print(sampling.markdown_local(_table(args, sampling.localities(steps=args.steps))), end="")
    return 0


TABLES = {
    "causal": eval_causal.run,
    "claims": eval_claims.run,
    "layers": eval_layers.run,
    "local": _local,
    "photos": eval_photos.run,
    "steps": _steps,
    "suite": eval_suite.run,
    "watermark": eval_watermark.run,
}


def _table(args: argparse.Namespace, wanted: list[Any]) -> list[dict[str, Any]]:
    """The rows that --json's file holds, and the wanted ones."""
    from facefact.demo import bundle_path, judges_path
    from facefact.device import choose_device
    from facefact.evaluate import sampling

    silence_loading()
    bundle = args.bundle or bundle_path()
    return sampling.measure(
        bundle,
        args.judges or judges_path(),
        wanted,
        seed=args.seed,
        people=args.people,
        per_person=args.per_person,
        rows=sampling.read_table(args.json, bundle),
        keep=lambda rows: sampling.write_table(args.json, bundle, rows),
        device=choose_device(args.device),
        progress=show,
    )


def _write(report: dict[str, Any], path: Path) -> None:
    """The figures as JSON, and the ROC curve, if there is one, as a picture beside it."""
    from facefact.checkpoint import replacing

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if "roc" in report:
        from facefact.evaluate.encoder import draw_roc

        draw_roc(report, path.with_suffix(".png"))


def table(report: dict[str, Any], name: str = "") -> list[str]:
    """One line a figure: name, value, 95 % interval, samples."""
    lines: list[str] = []
    for key, value in report.items():
        dotted = f"{name}.{key}" if name else key
        if isinstance(value, dict) and "low" in value:
            lines.append(
                f"{dotted:<44}{value['value']:>9.3f}  [{value['low']:.3f}, {value['high']:.3f}]  n={value['n']}"
            )
        elif isinstance(value, dict):
            lines += table(value, dotted)
        else:
            lines.append(f"{dotted:<44}{value!s:>9}")
    return lines

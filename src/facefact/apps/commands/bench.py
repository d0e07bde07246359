"""`facefact bench train`: what a training step costs, as ratios within one run. `facefact bench prepare`: what the
preparation keeps of a folder of photos, how right it is, and what it costs. `facefact bench unet`: what a call of the
U-Net costs with a face in it. `facefact bench serve`: what the service bears. `facefact bench page`: what a person at
the studio page waits for."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facefact.apps.options import add_overrides, at_least_one, typed_again
from facefact.apps.progress import show, silence_loading
from facefact.types import UserError


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("bench", help="measure speed and memory", description="Measure speed and memory.")
    measured = parser.add_subparsers(title="what", dest="what", metavar="WHAT", required=True)
    _add_train(measured)
    _add_prepare(measured)
    _add_unet(measured)
    _add_serve(measured)
    _add_page(measured)


def _add_train(measured: Any) -> None:
    line = "the trainer's step against the bare one, and against a loop that encodes in every step"
    parser = measured.add_parser("train", help=line, description=f"Measure {line}.")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="CONFIG",
        help="a recipe of an adapter, for instance configs/sd15.yaml (default: the embedded model, 128 px)",
    )
    add_overrides(parser, "schedule.batch=8")
    parser.add_argument(
        "--steps", type=int, default=12, metavar="N", help="measured steps of each variant (default 12)"
    )
    parser.add_argument(
        "--batches",
        type=int,
        nargs="*",
        default=[1, 8],
        metavar="N",
        help="other batch sizes, for samples per second (default 1 8)",
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile too; its first step takes minutes")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory (a process a variant)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go; a plot is drawn beside")


def _add_prepare(measured: Any) -> None:
    line = "what the preparation keeps of a folder of photos, how right it is, and what it costs"
    parser = measured.add_parser(
        "prepare",
        help=line,
        description=f"Measure {line}. With everything and ten times "
        "the pictures it takes about 13 times as long as preparing FOLDER.",
    )
    parser.set_defaults(parser=parser)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="real photos: a folder for each person")
    parser.add_argument("--config", metavar="FILE", type=Path, help="settings of the preparation (YAML)")
    add_overrides(parser, "people.cluster=0.4")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="PART",
        help="of alignment, stages, people, run; the others' "
        "figures stay in --json's FILE if they are of the same input and settings",
    )
    parser.add_argument(
        "--times",
        type=int,
        default=10,
        metavar="N",
        help="how many times the pictures for the second run, whose memory is compared (default 10; 1: none)",
    )
    parser.add_argument("--yunet", metavar="FILE", help="YuNet's ONNX file (or name it in FACEFACT_YUNET)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go; a plot is drawn beside")
    parser.add_argument("--out", type=Path, metavar="MD", help="where the page goes (Markdown)")


def _add_unet(measured: Any) -> None:
    line = "a call of the U-Net with a face in it against the stock call, IP-Adapter and ControlNet, in one run"
    parser = measured.add_parser(
        "unet", help=line, description=f"Measure {line}. Weights are random: nothing is downloaded."
    )
    parser.set_defaults(parser=parser)
    call = parser.add_argument_group("the call")
    call.add_argument("--shape", default="sd15", metavar="SHAPE", help="sd15, sdxl or demo (default sd15)")
    call.add_argument("--size", type=int, metavar="PX", help="width and height (default: what the shape is made for)")
    call.add_argument("--batch", type=int, default=1, metavar="N", help="pictures at a time (default 1)")
    call.add_argument("--no-guidance", action="store_true", help="one row for each picture, not two")
    call.add_argument(
        "--face-share",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="of the picture, known to local mode (default 0.2)",
    )
    call.add_argument("--device", help="cuda, cuda:1, mps or cpu (default: the best there is)")
    call.add_argument(
        "--dtype", default="auto", help="fp32, fp16, bf16 or auto: bf16 where it is native, else fp32 (default auto)"
    )
    parser.add_argument(
        "--variants",
        nargs="+",
        metavar="NAME",
        help="of base_fast, exact, local, ip_adapter, "
        "controlnet_ip_adapter (default: all; the stock base is always measured)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="PART",
        help="of unet, encode (a photo), portraits (of the "
        "embedded model), scaling (resolution, batch, photos, people; long), groups (people in one picture) (default: "
        "the first three)",
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="measured calls of each (default 5)")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory (a process a variant)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go; a plot is drawn beside")
    parser.add_argument("--out", type=Path, metavar="MD", help="where the page goes (Markdown)")


def _add_serve(measured: Any) -> None:
    line = "the service under load, how soon a job is begun, and what batches gain"
    parser = measured.add_parser(
        "serve", help=line, description=f"Measure {line}. It starts `facefact serve` on this machine, several times."
    )
    parser.set_defaults(parser=parser)
    parser.add_argument("--only", nargs="+", metavar="PART", help="of load, pick-up, batch (default: all)")
    for name, (kind, default, words) in LOADS.items():
        parser.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=f"{words} (default {default})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument("--out", type=Path, metavar="MD", help="where the page goes (Markdown)")


def _add_page(measured: Any) -> None:
    line = "the studio page in a real browser: from a cold start to the first portrait, and clicks while one forms"
    parser = measured.add_parser(
        "page", help=line, description=f"Measure {line}. It starts `facefact ui` several times, and a Chromium."
    )
    parser.set_defaults(parser=parser)
    parser.add_argument("--only", nargs="+", metavar="PART", help="of cold, answers (default: both)")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="take a picture of the page, too")
    parser.add_argument("--starts", type=at_least_one, default=3, metavar="N", help="of the program (default 3)")
    parser.add_argument("--clicks", type=at_least_one, default=40, metavar="N", help="of each kind (default 40)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument("--out", type=Path, metavar="MD", help="where the page goes (Markdown)")


LOADS: dict[str, tuple[Any, float, str]] = {
    "submissions": (int, 1000, "in all"),
    "clients": (int, 50, "who send them"),
    "rate": (float, 15.0, "submissions a second of the steady load"),
    "queue": (int, 500, "jobs that may wait"),
    "depth": (int, 32, "portraits that wait together where batches are measured"),
    "batch": (int, 8, "painted at a time, against one by one"),
    "steps": (int, 10, "of a portrait"),
    "rounds": (int, 3, "measured rounds of batches"),
}


def run(args: argparse.Namespace) -> int:
    runs = {"train": _run_train, "prepare": _run_prepare, "unet": _run_unet, "serve": _run_serve, "page": _run_page}
    return runs[args.what](args)


def _run_page(args: argparse.Namespace) -> int:
    from facefact.bench.browser import PARTS, bench_page
    from facefact.bench.browser_page import markdown

    parts = args.only or PARTS
    if unknown := set(parts) - set(PARTS):
        raise UserError(f"--only {min(unknown)}: choose from {', '.join(PARTS)}")
    if args.picture and "cold" not in parts:
        raise UserError("--picture is taken after a cold start: say --only cold too, or leave --only out")
    units = {"cold": "start", "answers": "round"}

    def told(title: str, done: int, total: int) -> None:
        show(title, done, total, unit=units[title])

    figures = bench_page(parts=parts, starts=args.starts, clicks=args.clicks, picture=args.picture, progress=told)
    _told(args, figures, markdown(figures, typed_again(args.parser, args)))
    return 0


def _run_serve(args: argparse.Namespace) -> int:
    from facefact.bench.serve import PARTS, Load, bench_serve
    from facefact.bench.serve_page import markdown

    parts = args.only or PARTS
    if unknown := set(parts) - set(PARTS):
        raise UserError(f"--only {min(unknown)}: choose from {', '.join(PARTS)}")
    load = Load(**{name: getattr(args, name) for name in LOADS})
    figures = bench_serve(load, parts=parts, progress=show)
    _told(args, figures, markdown(figures, typed_again(args.parser, args)))
    return 0


def _told(args: argparse.Namespace, figures: dict[str, Any], page: str) -> None:
    """Into the files that are asked for, and on the screen."""
    if args.json is not None:
        _write(figures, args.json)
    if args.out is not None:
        _write_text(page, args.out)
    print(page, end="")


def _run_unet(args: argparse.Namespace) -> int:
    from facefact.bench.unet_page import draw, markdown

    silence_loading()
    parts = args.only or ("unet", "encode", "portraits")
    if unknown := set(parts) - {"unet", "encode", "portraits", "scaling", "groups"}:
        raise UserError(f"--only {min(unknown)}: choose from unet, encode, portraits, scaling, groups")
    if args.rounds < 1:
        raise UserError("--rounds is a number from 1 on")
    figures = _measure_unet(args, parts)
    if args.json is not None:
        _write(figures, args.json)
        try:
            draw(figures, args.json.with_suffix(".png"))
        except ImportError:
            print("no plot is drawn without matplotlib: pip install matplotlib", file=sys.stderr)
    page = markdown(figures, typed_again(args.parser, args, always=["shape"]))
    if args.out is not None:
        _write_text(page, args.out)
    print(page, end="")
    return 0


def _measure_unet(args: argparse.Namespace, parts: Sequence[str]) -> dict[str, Any]:
    from facefact.bench.portraits import bench_encode, bench_portraits
    from facefact.bench.random_models import shape_of
    from facefact.bench.timing import machine
    from facefact.bench.unet import VARIANTS, Call, bench_call
    from facefact.bench.unet_scaling import bench_scaling, group_points, points
    from facefact.device import choose_device

    device = choose_device(args.device)
    call = Call(
        shape=args.shape,
        size=args.size or shape_of(args.shape).size,
        batch=args.batch,
        guidance=not args.no_guidance,
        face_share=args.face_share,
        device=str(device),
        dtype=args.dtype,
    )
    variants, rounds = args.variants or VARIANTS, args.rounds + 1
    figures: dict[str, Any] = {}
    if "unet" in parts:
        with _rounds("unet", rounds + (0 if args.no_memory else len(variants))) as bar:
            figures |= bench_call(call, variants, rounds=args.rounds, memory=not args.no_memory, progress=bar.update)
    if "encode" in parts:
        with _rounds("encode", rounds) as bar:
            figures["encode"] = bench_encode(device, rounds=args.rounds, progress=bar.update)
    if "portraits" in parts:
        with _rounds("portraits", rounds) as bar:
            figures["portraits"] = bench_portraits(device, rounds=args.rounds, progress=bar.update)
    if "scaling" in parts:
        with _rounds("scaling", rounds * len(list(points(call)))) as bar:
            figures["scaling"] = bench_scaling(call, rounds=args.rounds, progress=bar.update)
    if "groups" in parts:
        wanted = list(group_points(call))
        with _rounds("groups", rounds * len(wanted)) as bar:
            figures["groups"] = bench_scaling(call, wanted, rounds=args.rounds, progress=bar.update)
    return figures | {"machine": machine()}


def _rounds(title: str, total: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=title, unit="round")


def _run_prepare(args: argparse.Namespace) -> int:
    from facefact.bench.prepare import PARTS, bench_prepare
    from facefact.bench.prepare_page import draw, markdown
    from facefact.config import load_config
    from facefact.data.prepare_config import PrepareConfig

    silence_loading()
    parts = args.only or PARTS
    if unknown := set(parts) - set(PARTS):
        raise UserError(f"--only {sorted(unknown)[0]}: choose from {', '.join(PARTS)}")
    if args.times < 1:
        raise UserError("--times is a number from 1 on")
    settings = load_config(PrepareConfig, args.config, overrides=args.overrides)
    figures = bench_prepare(args.folder, settings, parts=parts, times=args.times, yunet=args.yunet, progress=show)
    if args.json is not None:
        figures = _with_earlier(figures, args.json)
        _write(figures, args.json)
        try:
            draw(figures, args.json.with_suffix(".png"))
        except ImportError:
            print("no plot is drawn without matplotlib: pip install matplotlib", file=sys.stderr)
    named = {"folder": args.folder.resolve().name}
    page = markdown(figures, typed_again(args.parser, args, never=["only", "yunet"], shown=named))
    if args.out is not None:
        _write_text(page, args.out)
    print(page, end="")
    return 0


def _with_earlier(figures: dict[str, Any], path: Path) -> dict[str, Any]:
    """With the parts that an earlier call left in the file, if they are of the same input, settings and models."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return figures
    if any(earlier.get(name) != figures[name] for name in ("input", "settings", "models")):
        return figures
    return earlier | figures


def _run_train(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from facefact.bench.train import DEFAULT, bench_train
    from facefact.bench.train_plot import draw
    from facefact.config import load_config
    from facefact.train.settings import AdapterTraining

    silence_loading()
    if args.steps < 1 or any(n < 1 for n in args.batches):
        raise UserError("--steps and --batches are numbers from 1 on")
    overrides = [*(DEFAULT if args.config is None else ()), *args.overrides]
    config = load_config(AdapterTraining, args.config, overrides=overrides)
    with tqdm(total=args.steps + 1, desc="bench train", unit="round") as bar:
        figures = bench_train(
            config,
            rounds=args.steps,
            batches=args.batches,
            compiled=args.compile,
            memory=not args.no_memory,
            progress=bar.update,
        )
    if args.json is not None:
        _write(figures, args.json)
        draw(figures, args.json.with_suffix(".png"))
    print(table(figures))
    return 0


def _write(figures: dict[str, Any], path: Path) -> None:
    _write_text(json.dumps(figures, indent=2) + "\n", path)


def _write_text(text: str, path: Path) -> None:
    from facefact.checkpoint import replacing

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def table(figures: dict[str, Any]) -> str:
    """The figures in Markdown, for the terminal and for pages: median, and quartiles in brackets."""
    from facefact.markdown import markdown_table

    def cell(one: dict[str, float], *, percent: bool = False) -> str:
        if percent:
            return f"{one['median']:.1%} [{one['low']:.1%}, {one['high']:.1%}]"
        return f"{one['median']:.3g} [{one['low']:.3g}, {one['high']:.3g}]"

    rows = []
    for name, one in figures["seconds_per_step"].items():
        rows.append((f"{name}: seconds a step", cell(one["wall"]), cell(one["cpu"])))
    for name, one in figures["ratios"].items():
        rows.append((name, cell(one["wall"]), cell(one["cpu"])))
    share = figures["fair_share"]
    rows.append(("FAIR's share", cell(share["wall"], percent=True), cell(share["cpu"], percent=True)))
    rows.append(("share of time waiting for data", cell(figures["data_wait_share"], percent=True), ""))
    for size, rate in figures["samples_per_second"].items():
        rows.append((f"samples a second, batch {size}", f"{rate['wall']:.3g}", f"{rate['cpu']:.3g}"))
    for name, mib in figures["peak_mib"].items():
        rows.append((f"peak memory of {name}", f"{mib:.0f} MiB", ""))
    rows.append(("one checkpoint", f"{figures['checkpoint_seconds']:.2f} s", ""))
    return markdown_table(("", "wall time", "CPU time"), rows)

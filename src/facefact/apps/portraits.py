"""What `generate` and `inpaint` share: their options, opening the model, reading the person, writing the pictures.

The heavy imports are inside the functions, so that a command's --help does not wait for PyTorch.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.face_adapter import FaceAdapter
    from facefact.faces import Detector
    from facefact.generate import Settings
    from facefact.types import FaceCrop, Portrait

log = logging.getLogger("facefact")

DEMO = "demo"
DEMO_SETTINGS = {"guidance_scale": 3.0}  # what the demo model was tuned and measured at
UNKNOWN_FACE = (
    "warning: %s: the demo model knows drawn avatars only, and this face is none: the portraits will not resemble it. "
    "For photos take a photo model: --model DIR|HUB_ID --adapter DIR"
)
UNKNOWN_WORDS = "warning: the demo model's captions have no word for: %s. It knows captions such as %r"
EXAMPLE_CAPTION = (
    "portrait of a person, with long red hair, smiling, turned left, wearing round glasses, in a blue hoodie, "
    "at the beach, warm light"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that both commands have. Those without a default here have theirs in the settings record."""
    person = parser.add_argument_group("the person")
    person.add_argument(
        "--face",
        metavar="PICTURE",
        action="append",
        required=True,
        type=Path,
        help="a photo of the person; repeat it for several photos of the same person",
    )
    person.add_argument("--scale", type=float, help="how much the face counts, 0 is not at all (default 0.7)")
    person.add_argument(
        "--start",
        type=float,
        metavar="PART",
        help="the face counts from this part of the noise schedule on: 0.1 leaves the layout to the prompt (default 0)",
    )
    person.add_argument(
        "--end",
        type=float,
        metavar="PART",
        help="the face counts up to this part; the steps after it cost no more than the base model's (default 1)",
    )
    person.add_argument(
        "--local",
        action="store_true",
        default=None,
        help="work for the face's region only: cheaper, and the rest of the picture is the base model's",
    )
    person.add_argument("--yunet", type=Path, metavar="FILE.onnx", help="find faces with this YuNet model")
    picture = parser.add_argument_group("the picture")
    picture.add_argument(
        "--prompt",
        action="append",
        metavar="TEXT",
        help="what to show; repeat it for several prompts, each with every seed",
    )
    picture.add_argument("--negative-prompt", help="what not to show")
    picture.add_argument(
        "-n", "--count", type=at_least_one, default=1, help="how many pictures of a prompt (default 1)"
    )
    picture.add_argument("--seed", type=int, help="seed of the first; the next has seed + 1, and so on (default 0)")
    picture.add_argument("--steps", type=int, help="denoising steps (default 25)")
    picture.add_argument(
        "--guidance-scale",
        type=float,
        help="how strictly to follow the prompt; 0 or 1 for turbo models and LCM (default 5; demo: 3)",
    )
    picture.add_argument("--size", type=int, help="width and height the model works at (default: what it is made for)")
    model = parser.add_argument_group("the model")
    model.add_argument("--model", default=DEMO, metavar="demo|DIR|HUB_ID", help="the base model (default: demo)")
    model.add_argument("--adapter", metavar="DIR|HUB_ID", help="the face adapter (default: the one inside the model)")
    model.add_argument("--device", help="cuda, cuda:1, mps or cpu (default: the best there is)")
    model.add_argument("--dtype", help="fp32, fp16 or bf16 (default: what the device does well)")
    model.add_argument(
        "--stock-kernels",
        action="store_true",
        help="compute as diffusers does, even on a CPU, where "
        "faster ways are used otherwise; but for rounding the picture is the same",
    )
    model.add_argument("--offline", action="store_true", help="never use the network")
    output = parser.add_argument_group("the output")
    output.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="where to write (default: out)")
    again = output.add_mutually_exclusive_group()
    again.add_argument("--overwrite", action="store_true", help="replace pictures of the same names")
    again.add_argument("--resume", action="store_true", help="go on with interrupted work: keep what is finished")
    output.add_argument("--json", action="store_true", help="print what was made as JSON")


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pictures")
    return int(text)


@dataclass(frozen=True)
class Studio:
    """A base model with the adapter attached. origin: names and content hashes of both, for the recipe."""

    pipe: Any
    adapter: FaceAdapter
    origin: dict[str, Any]


def open_studio(args: argparse.Namespace) -> Studio:
    """Opens what --model, --adapter, --device, --dtype and --stock-kernels name."""
    if args.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is imported, which is not before now
    from facefact.adapter import fast_kernels
    from facefact.device import choose_device, choose_dtype
    from facefact.face_adapter import FaceAdapter
    from facefact.generate import load_base, locate, model_hash

    silence_loading()
    device = choose_device(args.device)
    dtype = choose_dtype(device, args.dtype)
    base = bundle() if args.model == DEMO else locate(args.model, offline=args.offline)
    face = locate(args.adapter, offline=args.offline) if args.adapter else base / "adapter"
    if not face.is_dir():
        raise UserError(f"the model {args.model} has no face adapter inside: name one with --adapter")
    pipe = load_base(base, device=device, dtype=dtype)
    if device.type == "cpu" and not args.stock_kernels:  # (on GPUs they were not measured)
        fast_kernels(pipe)
    adapter = FaceAdapter.from_pretrained(face)
    origin = {
        "model": {"name": _public_name(args.model), "sha256": model_hash(base)},
        "adapter": {"name": _public_name(args.adapter or args.model), "sha256": adapter.content_hash()},
    }
    return Studio(pipe, adapter.attach(pipe), origin)


def bundle() -> Path:
    """The directory of the model that ships with the package."""
    from facefact.demo import bundle_path

    return bundle_path()


def silence_loading() -> None:
    """The libraries' own progress bars: one per file, gone before they can be read."""
    from diffusers.utils.logging import disable_progress_bar as no_diffusers_bars
    from transformers.utils.logging import disable_progress_bar as no_transformers_bars

    no_diffusers_bars()
    no_transformers_bars()


def _public_name(name: str) -> str:
    """A hub id or `demo` as it is; of a directory on this machine only its last part."""
    return Path(name).resolve().name if Path(name).is_dir() else name


def find_person(args: argparse.Namespace, detector: Detector, *, which: int) -> tuple[list[FaceCrop], dict[str, Any]]:
    """The photos of --face -> face crops, and the part of the recipe that says which files they came from."""
    from facefact.faces import face_crop
    from facefact.generate import file_hash

    crops = [face_crop(photo, detector=detector, which=which) for photo in args.face]
    for photo, crop in zip(args.face, crops, strict=True):
        if args.model == DEMO and crop.face.backend != "avatar":
            log.warning(UNKNOWN_FACE, photo)
    return crops, {"faces": [file_hash(photo) for photo in args.face], "which": which}


def check_prompts(args: argparse.Namespace) -> None:
    """UserError without a prompt; a warning of words that the demo model, which draws what its captions name, lacks."""
    if not args.prompt:
        raise UserError("say what to show: --prompt TEXT")
    if args.model != DEMO:
        return
    from facefact.world import corpus

    words = re.compile("[a-z][a-z-]*")
    known = set(words.findall(" ".join(corpus()).lower()))
    unknown = [word for word in words.findall(" ".join(args.prompt).lower()) if word not in known]
    if unknown:
        log.warning(UNKNOWN_WORDS, ", ".join(unknown), EXAMPLE_CAPTION)


def settings_from(kind: type, args: argparse.Namespace, **more: Any) -> Any:
    """The settings record `kind` of the first picture, from the options given; the others have the demo model's or the
    record's defaults."""
    options = {field.name: getattr(args, field.name, None) for field in fields(kind)} | {"prompt": args.prompt[0]}
    given = {name: value for name, value in (options | more).items() if value is not None}
    return kind(**((DEMO_SETTINGS if args.model == DEMO else {}) | given))


def wanted(args: argparse.Namespace) -> dict[Path, dict[str, Any]]:
    """The files to be made, and in what they differ: each prompt with each seed."""
    first = args.seed or 0
    numbers = [f"{i}-" for i in range(1, len(args.prompt) + 1)] if len(args.prompt) > 1 else [""]
    return {
        args.out / f"portrait-{number}{seed}.png": {"prompt": prompt, "seed": seed}
        for number, prompt in zip(numbers, args.prompt, strict=True)
        for seed in range(first, first + args.count)
    }


def refuse_to_overwrite(args: argparse.Namespace) -> None:
    """UserError, before any work, if a picture of the same name is there and nothing says what to do with it."""
    there = [path for path in wanted(args) if path.exists()]
    if there and not (args.overwrite or args.resume):
        more = "--resume to keep it, or --overwrite"
        raise UserError(f"{there[0]} is already there: choose another --out or --seed, or say {more}")


def make_portraits(
    args: argparse.Namespace,
    settings: Settings,
    make: Callable[[list[Any], Callable[[], None]], Iterator[Portrait]],
    *,
    steps: int,
    origin: Mapping[str, Any],
    batch: int = 1,
) -> list[dict[str, Any]]:
    """Makes all that is wanted and not there yet, and saves each portrait as soon as it is made.

    make: (settings of each, on_step) -> portraits, `batch` at a time; steps: calls of on_step in each batch.
    """
    from tqdm import tqdm

    from facefact.generate import save_portrait

    pictures = {path: replace(settings, **own) for path, own in wanted(args).items()}
    known = {path: finished(path, one, origin) for path, one in pictures.items() if args.resume and path.exists()}
    todo = {path: one for path, one in pictures.items() if path not in known}
    with tqdm(total=steps * math.ceil(len(todo) / batch), unit="step") as progress:
        made = make(list(todo.values()), partial(_advance, progress))
        for number, (path, portrait) in enumerate(zip(todo, made, strict=True), 1):
            save_portrait(portrait, path)
            known[path] = portrait.recipe
            progress.n = steps * math.ceil(number / batch)
            progress.set_postfix_str(path.name)
    return [{"file": str(path), "recipe": known[path]} for path in pictures]


def finished(path: Path, settings: Settings, origin: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a picture that is there. UserError: it is not the picture that is wanted."""
    from facefact.generate import read_recipe

    recipe = read_recipe(path)
    asked = {name: value for name, value in asdict(settings).items() if value is not None} | dict(origin)
    for name, value in asked.items():
        if recipe.get(name) != value:
            raise UserError(
                f"{path} has another `{name}` in its recipe: choose another --out, or --overwrite instead of --resume"
            )
    return recipe


def _advance(progress: Any) -> None:
    """One step more, but never beyond the end: some schedulers take a step more than they were asked for."""
    progress.update(progress.n < progress.total)


def report(args: argparse.Namespace, made: list[dict[str, Any]]) -> int:
    """Prints what was made; the exit code."""
    print(json.dumps({"portraits": made}, indent=2) if args.json else "\n".join(one["file"] for one in made))
    return 0

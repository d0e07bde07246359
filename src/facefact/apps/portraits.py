"""What `generate` and `inpaint` share: their options, opening the model, reading the person, writing the pictures.

The heavy imports are inside the functions, so that a command's --help does not wait for PyTorch.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.face_adapter import FaceAdapter
    from facefact.faces import Detector
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
    person.add_argument("--face", metavar="PICTURE", action="append", required=True, type=Path,
                        help="a photo of the person; repeat it for several photos of the same person")  # fmt: skip
    person.add_argument("--scale", type=float, help="how much the face counts, 0 is not at all (default 0.7)")
    person.add_argument("--yunet", type=Path, metavar="FILE.onnx", help="find faces with this YuNet model")
    picture = parser.add_argument_group("the picture")
    picture.add_argument("--prompt", help="what to show")
    picture.add_argument("--negative-prompt", help="what not to show")
    picture.add_argument("-n", "--count", type=_at_least_one, default=1, help="how many pictures (default 1)")
    picture.add_argument("--seed", type=int, help="seed of the first; the next has seed + 1, and so on (default 0)")
    picture.add_argument("--steps", type=int, help="denoising steps (default 25)")
    picture.add_argument("--guidance-scale", type=float, help="how strictly to follow the prompt (default 5; demo: 3)")
    picture.add_argument("--size", type=int, help="width and height the model works at (default: what it is made for)")
    model = parser.add_argument_group("the model")
    model.add_argument("--model", default=DEMO, metavar="demo|DIR|HUB_ID", help="the base model (default: demo)")
    model.add_argument("--adapter", metavar="DIR|HUB_ID", help="the face adapter (default: the one inside the model)")
    model.add_argument("--device", help="cuda, cuda:1, mps or cpu (default: the best there is)")
    model.add_argument("--dtype", help="fp32, fp16 or bf16 (default: what the device does well)")
    model.add_argument("--offline", action="store_true", help="never use the network")
    output = parser.add_argument_group("the output")
    output.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="where to write (default: out)")
    output.add_argument("--overwrite", action="store_true", help="replace pictures of the same names")
    output.add_argument("--json", action="store_true", help="print what was made as JSON")


def _at_least_one(text: str) -> int:
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
    """Opens what --model, --adapter, --device and --dtype name."""
    if args.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is imported, which is not before now
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


def warn_of_unknown_words(args: argparse.Namespace) -> None:
    """The demo model can only draw what its captions name."""
    if args.model != DEMO:
        return
    from facefact.world import corpus

    words = re.compile("[a-z][a-z-]*")
    known = set(words.findall(" ".join(corpus()).lower()))
    unknown = [word for word in words.findall(args.prompt.lower()) if word not in known]
    if unknown:
        log.warning(UNKNOWN_WORDS, ", ".join(unknown), EXAMPLE_CAPTION)


def settings_from(kind: type, args: argparse.Namespace, **more: Any) -> Any:
    """The settings record `kind` from the options given; the others have the demo model's or the record's defaults."""
    options = {field.name: getattr(args, field.name, None) for field in fields(kind)} | more
    given = {name: value for name, value in options.items() if value is not None}
    return kind(**((DEMO_SETTINGS if args.model == DEMO else {}) | given))


def seeds(args: argparse.Namespace) -> range:
    first = args.seed or 0
    return range(first, first + args.count)


def target(args: argparse.Namespace, seed: int) -> Path:
    return args.out / f"portrait-{seed}.png"


def refuse_to_overwrite(args: argparse.Namespace) -> None:
    """UserError, before any work, if a picture of the same name is there and --overwrite is not."""
    there = [str(target(args, seed)) for seed in seeds(args) if target(args, seed).exists()]
    if there and not args.overwrite:
        raise UserError(f"{there[0]} is already there: choose another --out or --seed, or say --overwrite")


def make_portraits(
    args: argparse.Namespace, steps: int, make: Callable[[int, Callable[[], None]], Portrait]
) -> list[dict[str, Any]]:
    """Makes and saves one portrait per seed. make: (seed, on_step) -> Portrait; steps: calls of on_step in each."""
    from tqdm import tqdm

    from facefact.generate import save_portrait

    made = []
    for seed in seeds(args):
        path = target(args, seed)
        with tqdm(total=steps, unit="step", desc=path.name) as progress:
            portrait = make(seed, partial(_advance, progress))
        save_portrait(portrait, path)
        made.append({"file": str(path), "recipe": portrait.recipe})
    return made


def _advance(progress: Any) -> None:
    """One step more, but never beyond the end: some schedulers take a step more than they were asked for."""
    progress.update(progress.n < progress.total)


def report(args: argparse.Namespace, made: list[dict[str, Any]]) -> int:
    """Prints what was made; the exit code."""
    print(json.dumps({"portraits": made}, indent=2) if args.json else "\n".join(one["file"] for one in made))
    return 0

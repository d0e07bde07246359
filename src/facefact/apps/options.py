"""Options that several commands have, and a command line as it can be typed again."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

from facefact.demo import SCALE


def add_person(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Whose face, and how much it counts. Options without a default have theirs in the settings record. required:
    whether no other option says whose face."""
    person = parser.add_argument_group("the person")
    person.add_argument(
        "--face",
        metavar="PICTURE",
        action="append",
        required=required,
        default=None if required else [],
        type=Path,
        help="a photo of the person, or an identity card (facefact card); repeat it for several of the same person",
    )
    add_face(person)


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """Which bundle is measured, by which judges, and where."""
    parser.add_argument("--bundle", type=Path, help="a bundle directory (default: the embedded one)")
    parser.add_argument("--judges", type=Path, help="its judges (default: the embedded ones)")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")


def add_face(person: argparse._ArgumentGroup) -> None:
    """How much a face counts, when and where, and what finds it."""
    person.add_argument(
        "--scale", type=float, help=f"how much the face counts, 0 is not at all (default 0.7, the demo model {SCALE})"
    )
    person.add_argument(
        "--face-guidance",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether guidance strengthens the face, too; without, take --scale 1 (default yes, the demo model no)",
    )
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


def add_picture(parser: argparse.ArgumentParser) -> None:
    """What to show. Options without a default have theirs in the settings record, or from the model."""
    picture = parser.add_argument_group("the picture")
    picture.add_argument(
        "--prompt",
        action="append",
        metavar="TEXT",
        help="what to show; repeat it for several prompts, each with every seed",
    )
    picture.add_argument(
        "--exact-prompt",
        action="store_true",
        help="demo model: draw what the prompt says and no more; else the seed chooses hair, pose, scene, ... that it "
        "leaves open",
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


def add_control(parser: argparse.ArgumentParser) -> None:
    """What the ControlNet of `--control-model` reads."""
    control = parser.add_argument_group("the ControlNet")
    control.add_argument("--control-image", type=Path, metavar="PICTURE", help="what it reads")
    control.add_argument("--control-scale", type=float, help="how much it counts (default 1)")


def add_model(parser: argparse.ArgumentParser) -> None:
    """What `Studio.open` opens."""
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--model",
        default="demo",
        metavar="demo|DIR|FILE|HUB_ID",
        help="the base model; FILE: one .safetensors of SD1.5, SD2 or SDXL (default: demo)",
    )
    model.add_argument("--adapter", metavar="DIR|HUB_ID", help="the face adapter (default: the one inside the model)")
    model.add_argument("--vae", metavar="DIR|FILE", help="another autoencoder (default: the model's)")
    model.add_argument("--scheduler", metavar="NAME", help="one of diffusers' schedulers, e.g. UniPCMultistep")
    model.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="FILE[:WEIGHT]",
        help="a LoRA for the base model, weight 1 unless given; repeat it for several",
    )
    model.add_argument("--control-model", metavar="DIR", help="a ControlNet of diffusers, which reads a control image")
    model.add_argument("--device", help="cuda, cuda:1, mps or cpu (default: the best there is)")
    model.add_argument("--dtype", help="fp32, fp16 or bf16 (default: what the device does well)")
    model.add_argument(
        "--stock-kernels",
        action="store_true",
        help="compute as diffusers does, even on a CPU, where "
        "faster ways are used otherwise; but for rounding the picture is the same",
    )
    model.add_argument("--offline", action="store_true", help="never use the network")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Where pictures go, and what becomes of those that are there."""
    output = parser.add_argument_group("the output")
    output.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="where to write (default: out)")
    output.add_argument(
        "--format",
        choices=("png", "jpeg", "webp"),
        default="png",
        help="of the pictures; all carry their recipe, png and webp every pixel too (default: png)",
    )
    again = output.add_mutually_exclusive_group()
    again.add_argument("--overwrite", action="store_true", help="replace pictures of the same names")
    again.add_argument("--resume", action="store_true", help="go on with interrupted work: keep what is finished")
    output.add_argument("--json", action="store_true", help="print what was made as JSON")


def add_provenance(parser: argparse.ArgumentParser) -> None:
    """What pictures say of where they come from, besides their recipe."""
    provenance = parser.add_argument_group("the provenance")
    provenance.add_argument(
        "--c2pa-key",
        type=Path,
        metavar="KEY",
        help="sign the pictures (C2PA Content Credentials) with this private key; `facefact sign init` makes one",
    )
    provenance.add_argument("--c2pa-cert", type=Path, metavar="CHAIN", help="the key's certificates, its own first")
    provenance.add_argument(
        "--watermark",
        action="store_true",
        help="an invisible mark in the pixels, which `facefact verify` finds (from 128 pixels a side on)",
    )
    provenance.add_argument(
        "--strict-licences",
        action="store_true",
        help="refuse models whose licence forbids commercial use, or is not known (see `facefact models licences`)",
    )


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """`--set KEY=VALUE ...`, again and again, of a recipe's settings."""
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help=f"change settings, for instance {example}",
    )


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pictures")
    return int(text)


def typed_again(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    *,
    always: Collection[str] = (),
    never: Collection[str] = (),
    shown: dict[str, str] | None = None,
) -> str:
    """The command line that gives these arguments, without where things lie on this machine: of absolute paths the
    last part alone.

    Options at their defaults are left out, but for those in `always`; those in `never` are left out whatever they are.
    shown: what stands for an argument in place of its value.
    """
    words, given = parser.prog.split(), vars(args) | (shown or {})
    for action in parser._actions:  # argparse has no public way to ask for them
        if action.dest not in given or action.dest in never:
            continue
        value = given[action.dest]
        if value == action.default and action.dest not in always:
            continue
        words += action.option_strings[-1:]
        if action.nargs != 0:  # a flag has no value
            words += [_as_typed(one) for one in (value if isinstance(value, (list, tuple)) else [value])]
    return shlex.join(words)


def _as_typed(value: Any) -> str:
    if isinstance(value, Path):
        return value.name if value.is_absolute() else value.as_posix()
    return f"{value:g}" if isinstance(value, float) else str(value)

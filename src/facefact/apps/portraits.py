"""What `generate` and `inpaint` share between their options and the pictures.

The heavy imports are inside the functions, so that a command's --help does not wait for PyTorch.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.apps import options
from facefact.apps.progress import silence_loading
from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.faces import Detector
    from facefact.generate import Person, Studio
    from facefact.generate.provenance import Provenance
    from facefact.types import Portrait

# The options that are named as the fields of `Settings` that they fill.
FACE_SETTINGS = ("negative_prompt", "seed", "steps", "scale", "guidance_scale", "face_guidance", "start", "end")
SETTINGS = (*FACE_SETTINGS, "local", "control_scale")

# (the settings of each picture, what to call after every denoising step) -> the portraits, in the same order
Make = Callable[[list[Any], Callable[[], None]], Iterator["Portrait"]]


def add_options(parser: argparse.ArgumentParser, *, face_required: bool = True) -> None:
    """The options that both commands have."""
    options.add_person(parser, required=face_required)
    groups = (options.add_picture, options.add_model, options.add_control, options.add_output, options.add_provenance)
    for add in groups:
        add(parser)


def check_prompts(prompts: Sequence[str], *, model: str) -> None:
    """UserError without a prompt; a warning of words that the demo model lacks."""
    if not prompts:
        raise UserError("say what to show: --prompt TEXT")
    from facefact.generate.demo_model import warn_of_words

    warn_of_words(prompts, model=model)


def settings_given(args: argparse.Namespace) -> dict[str, Any]:
    """Of the settings of a picture those that both commands have options for; None where the option was not given."""
    return {name: getattr(args, name) for name in SETTINGS} | {"control_image": _control_image(args)}


def _control_image(args: argparse.Namespace) -> Any:
    """UserError: a control image without a ControlNet to read it."""
    if args.control_image is None:
        return None
    if args.control_model is None:
        raise UserError("nothing reads the control image: name a ControlNet with --control-model DIR")
    from PIL import Image

    from facefact.faces import open_picture

    return Image.fromarray(open_picture(args.control_image))


def pictures_wanted(
    args: argparse.Namespace, settings: Any, prompts: Sequence[str], *, name: str = "portrait"
) -> dict[Path, Any]:
    """The files to be made, each with its settings; `settings` are those of the first. name: how the files' names
    begin. UserError, before any work: one is there already, and no option says what to do with it."""
    from facefact.generate.jobs import refuse_to_overwrite, wanted

    provenance_asked(args)  # for what is wrong with it
    refuse_unmarkable(args, settings)
    pictures = wanted(args.out, settings, prompts, count=args.count, form=args.format, name=name)
    if not (args.overwrite or args.resume):
        refuse_to_overwrite(pictures)
    return pictures


def provenance_asked(args: argparse.Namespace) -> Provenance:
    """What the options say of signing and marking. UserError: a key without its certificates, or that cannot sign."""
    from facefact.generate.provenance import Provenance

    key, chain = args.c2pa_key, args.c2pa_cert
    if (key is None) != (chain is None):
        raise UserError("--c2pa-key and --c2pa-cert belong together: `facefact sign init` makes both files")
    if key is None:
        return Provenance(watermark=args.watermark)
    from facefact.generate.signing import Signer

    return Provenance(signer=Signer.open(key, chain), watermark=args.watermark)


def refuse_unmarkable(args: argparse.Namespace, settings: Any) -> None:
    """UserError, before any work: pictures of the size that is asked for are too small for the mark that is, too. (What
    is put into a template has the template's size.)"""
    from facefact.generate.watermark import refuse_small

    if args.watermark and getattr(args, "template", None) is None and settings.width and settings.height:
        refuse_small(settings.width, settings.height)


def as_the_person_asks(pictures: Mapping[Path, Any], person: Person) -> dict[Path, Any]:
    """The same files; of photos for which an avatar stands in, the prompts say hair and glasses too."""
    asked = dict.fromkeys(settings.prompt for settings in pictures.values())
    worded = dict(zip(asked, person.prompts(list(asked)), strict=True))
    return {path: replace(settings, prompt=worded[settings.prompt]) for path, settings in pictures.items()}


def open_studio(args: argparse.Namespace, *, detector: Detector | None = None) -> Studio:
    from facefact.generate import Studio

    silence_loading()
    return Studio.open(
        model=args.model,
        adapter=args.adapter,
        device=args.device,
        dtype=args.dtype,
        offline=args.offline,
        stock_kernels=args.stock_kernels,
        yunet=args.yunet,
        vae=args.vae,
        scheduler=args.scheduler,
        loras=args.lora,
        control_model=args.control_model,
        detector=detector,
        exact_prompt=args.exact_prompt,
        strict_licences=args.strict_licences,
    )


def make_and_print(
    args: argparse.Namespace,
    pictures: Mapping[Path, Any],
    make: Make,
    *,
    steps: int,
    origin: Mapping[str, Any],
    batch: int = 1,
    template: Path | None = None,
    photos: Sequence[Path] = (),
) -> int:
    """Makes the pictures that are not finished yet, under a bar, and prints what is there then; the exit code.

    pictures: the file of each, and its settings. make: makes them `batch` at a time, with `steps` calls of on_step each
    time. origin: what the recipes say besides the settings. template, photos: what signatures name as put in.
    """
    inputs: dict[str, Any] = {"template": template, "photos": photos}
    print_made(args, make_missing(args, pictures, make, steps=steps, origin=origin, batch=batch, **inputs))
    return 0


def make_missing(
    args: argparse.Namespace,
    pictures: Mapping[Path, Any],
    make: Make,
    *,
    steps: int,
    origin: Mapping[str, Any],
    batch: int = 1,
    template: Path | None = None,
    photos: Sequence[Path] = (),
) -> dict[Path, dict[str, Any]]:
    """The first half of `make_and_print`: the recipes of all the pictures, in their order."""
    from tqdm import tqdm

    from facefact.generate.jobs import finished, make_portraits

    provenance = replace(provenance_asked(args), template=template, photos=photos)
    recipes = finished(pictures, origin, provenance=provenance) if args.resume else {}
    missing = {path: settings for path, settings in pictures.items() if path not in recipes}
    with tqdm(total=steps * math.ceil(len(missing) / batch), unit="step") as bar:
        made = make_portraits(missing, lambda wanted: make(wanted, partial(_advance, bar)), provenance=provenance)
        for number, (path, recipe) in enumerate(made, 1):
            recipes[path] = recipe
            bar.n = steps * math.ceil(number / batch)
            bar.set_postfix_str(path.name)
    return {path: recipes[path] for path in pictures}


def print_made(args: argparse.Namespace, recipes: Mapping[Path, Mapping[str, Any]]) -> None:
    """The files, one in a line, or JSON with their recipes."""
    found = [{"file": str(path), "recipe": recipe} for path, recipe in recipes.items()]
    print(json.dumps({"portraits": found}, indent=2) if args.json else "\n".join(map(str, recipes)))


def _advance(bar: Any) -> None:
    """One step more, but never beyond the end: some schedulers take a step more than they were asked for."""
    bar.update(bar.n < bar.total)

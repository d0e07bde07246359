"""Many pictures as files: which are wanted, which are finished already, and each saved as soon as it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from facefact.generate.provenance import NO_PROVENANCE, Provenance, save_with, wanting
from facefact.generate.recipe import read_recipe
from facefact.generate.text_to_image import Settings, written
from facefact.types import Portrait, UserError

S = TypeVar("S", bound=Settings)

UNCOMPARED = ("licences",)  # of a recipe, when work is resumed: they are about the models, whose hashes are compared
USUAL = {field.name: field.default for field in fields(Settings)}  # a setting that an older recipe does not know

SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


def wanted(
    out: Path, settings: S, prompts: Sequence[str], *, count: int = 1, form: str = "png", name: str = "portrait"
) -> dict[Path, S]:
    """The files to be made in the folder `out`, each with its settings: every prompt with `count` seeds.

    settings: what all have in common, and the first seed; the next pictures have those that follow it. form: png, jpeg
    or webp. name: how the files' names begin. UserError: `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file, no folder for pictures: choose another --out")
    numbers = [f"{i}-" for i in range(1, len(prompts) + 1)] if len(prompts) > 1 else [""]
    return {
        out / f"{name}-{number}{seed}{SUFFIXES[form]}": replace(settings, prompt=prompt, seed=seed)
        for number, prompt in zip(numbers, prompts, strict=True)
        for seed in range(settings.seed, settings.seed + count)
    }


def refuse_to_overwrite(files: Iterable[Path]) -> None:
    """UserError if one of them is there."""
    if there := next((path for path in files if path.exists()), None):
        more = "--resume to keep it, or --overwrite"
        raise UserError(f"{there} is already there: choose another --out or --seed, or say {more}")


def finished(
    pictures: Mapping[Path, Settings], origin: Mapping[str, Any], *, provenance: Provenance = NO_PROVENANCE
) -> dict[Path, dict[str, Any]]:
    """The recipes of those pictures that are there. origin: what their recipes say besides the settings.

    UserError: one of them is not the picture that is wanted (signed and marked, if that is asked for), or none that was
    made here.
    """
    there = {path: _fitting_recipe(path, one, origin) for path, one in pictures.items() if path.exists()}
    for path, recipe in there.items():
        if missing := wanting(path, recipe, provenance):
            raise UserError(f"{path} is not {missing}: choose another --out, or --overwrite instead of --resume")
    return there


def _fitting_recipe(path: Path, settings: Settings, origin: Mapping[str, Any]) -> dict[str, Any]:
    recipe = read_recipe(path)
    asked = {name: value for name, value in written(settings).items() if value is not None} | dict(origin)
    for name, value in asked.items():
        if name not in UNCOMPARED and recipe.get(name, USUAL.get(name)) != value:
            raise UserError(
                f"{path} has another `{name}` in its recipe: choose another --out, or --overwrite instead of --resume"
            )
    return recipe


def make_portraits(
    pictures: Mapping[Path, S],
    make: Callable[[list[S]], Iterator[Portrait]],
    *,
    provenance: Provenance = NO_PROVENANCE,
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Makes the pictures and saves each before the next is asked for: (its file, its recipe) of one after the other.

    make: the settings of each -> the portraits, in the same order.
    """
    for path, portrait in zip(pictures, make(list(pictures.values())), strict=True):
        yield path, save_with(provenance, portrait, path).recipe

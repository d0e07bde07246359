"""Styles: words, settings and maybe a LoRA under a name, ours and the user's own.

Ours lie in the package, the user's in `$FACEFACT_HOME/styles`. What is decided here is the same for commands, service
and page: `styles()`, `find_style(name)`, `apply(style, settings)`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from facefact.checkpoint import replacing
from facefact.demo import DEMO
from facefact.generate.metadata import save_options
from facefact.generate.models import STYLES, models_dir
from facefact.generate.recipe import save_portrait
from facefact.generate.style_file import HERE, PICTURES, SUFFIXES, Style, checked, read_style, write_style
from facefact.generate.wording import parts_named
from facefact.types import Portrait, UserError
from facefact.world.caption import SUBJECT

log = logging.getLogger("facefact")

OURS = Path(__file__).parent / "style_files"
PREVIEWS = "previews"  # in the user's folder: pictures that were drawn here
KINDS = {768: "sd15", 1024: "sd2", 2048: "sdxl"}  # by the width of the text that a U-Net reads


def styles() -> list[Style]:
    """All, ours first, by family and name. A file of the user's that is damaged is left out, with a warning."""
    found = {style.name: style for style in map(read_style, sorted(OURS.glob("*/*.yaml")))}
    for path in sorted(styles_dir().iterdir()) if styles_dir().is_dir() else ():
        if path.suffix.lower() in SUFFIXES and path.is_file():
            try:
                style = read_style(path)
            except UserError as error:
                log.warning("warning: %s", error)
                continue
            found.setdefault(style.name, style)
    return sorted(found.values(), key=lambda style: (not is_ours(style), style.family, style.name))


def styles_dir() -> Path:
    """The user's own; it need not exist."""
    return models_dir() / STYLES


def is_ours(style: Style) -> bool:
    return style.path is not None and OURS in style.path.parents


def find_style(name: str | Path) -> Style:
    """By its name, or a style's file. UserError: neither; it names the nearest."""
    if str(name).lower().endswith(SUFFIXES):
        return read_style(name)
    known = {style.name: style for style in styles()}
    if str(name) not in known:
        near = get_close_matches(str(name), known, n=1)
        hint = f"did you mean {near[0]}?" if near else "`facefact styles list` shows them"
        raise UserError(f"there is no style {str(name)!r}; {hint}")
    return known[str(name)]


def apply(style: Style, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a picture (by the names of `Settings`; None or missing: not said) in a style: its words added,
    and its settings where nothing else is said. Of a style for the embedded model words are left out whose part of the
    picture the user's prompt names."""
    given = {name: value for name, value in settings.items() if value is not None}
    prompt = worded(style, str(given.get("prompt", "")))
    negative = _joined(str(given.get("negative_prompt", "")), style.negative_prompt)
    return style.said | given | {"prompt": prompt, "negative_prompt": negative}


def worded(style: Style, prompt: str) -> str:
    """The user's prompt with the style's words; without a prompt it is a portrait of a person."""
    words, prompt = style.prompt, prompt.strip() or SUBJECT
    if style.family == DEMO:
        named = parts_named(prompt)
        words = ", ".join(part for part in words.split(", ") if not parts_named(part) & named)
    if HERE in words:
        return words.replace(HERE, prompt)
    return _joined(prompt, words)


def _joined(first: str, second: str) -> str:
    return ", ".join(part.strip() for part in (first, second) if part.strip())


def origin_of(style: Style) -> dict[str, Any]:
    """What a recipe says of it. (Its words and settings, and the LoRA, stand there already.)"""
    return {"style": {"name": style.name, "sha256": style.digest}}


def check_fits(style: Style, *, model: str, pipe: Any = None) -> None:
    """UserError: the style is for other models. pipe: the model's, if it is open already."""
    if (style.family == DEMO) != (model == DEMO):
        whom = (
            "the embedded model (--model demo)" if style.family == DEMO else "models of photos (name one with --model)"
        )
        raise UserError(f"the style {style.name} is for {whom}: `facefact styles list` says which fit")
    width = getattr(getattr(getattr(pipe, "unet", None), "config", None), "cross_attention_dim", None)
    kind = KINDS.get(width) if isinstance(width, int) else None  # (of a model of another width nobody can say)
    if kind is not None and style.family in KINDS.values() and style.family != kind:
        raise UserError(f"the style {style.name} is for models of the kind {style.family}, and this one is {kind}")


def lora_of(style: Style) -> str | None:
    """FILE:WEIGHT, as `Studio.open` takes LoRAs; None: the style has none. UserError: its file is not here."""
    if style.lora is None:
        return None
    places = [models_dir()] if style.path is None else [style.path.parent, styles_dir(), models_dir()]
    file = next((place / style.lora.file for place in places if (place / style.lora.file).is_file()), None)
    if file is None:
        had = f" (it can be had from {style.lora.source})" if style.lora.source else ""
        raise UserError(f"the style {style.name} needs the LoRA {style.lora.file}{had}: put it into {places[0]}")
    return f"{file}:{style.lora.weight!r}"


# The user's own


def add_style(path: str | Path, *, name: str | None = None, lora: Path | None = None, overwrite: bool = False) -> Style:
    """Copies a style's file, its preview and its LoRA into the user's folder; one of FaceChain's becomes one of ours.

    name: another name. lora: where the LoRA lies. UserError: damaged, the name is taken, or the LoRA is not there.
    """
    style = read_style(path)
    style = checked(replace(style, name=name)) if name else style
    goal = styles_dir() / f"{style.name}.yaml"
    there = {one.name: one for one in styles()}.get(style.name)
    if there is not None and is_ours(there):
        raise UserError(f"{style.name} is the name of a style that is here already, and stays: choose another --name")
    if goal.exists() and not overwrite:
        raise UserError(f"{goal} is already there: choose another --name, or say --overwrite")
    if style.lora is not None and lora is None:
        lora = Path(str(lora_of(style)).rpartition(":")[0])
    if lora is not None and (style.lora is None or not lora.is_file()):
        raise UserError(f"{lora} is no file" if style.lora else f"the style {style.name} has no LoRA: leave --lora out")
    try:
        styles_dir().mkdir(parents=True, exist_ok=True)
        if style.lora is not None and lora is not None:
            style = replace(style, lora=replace(style.lora, file=lora.name))
            _copy(lora, styles_dir() / lora.name)
        shown = _own_preview(style)
        style = replace(style, preview=None if shown is None else f"{style.name}{shown.suffix.lower()}")
        if shown is not None:
            _copy(shown, styles_dir() / str(style.preview))
        write_style(style, goal)
    except OSError as error:
        raise UserError(f"cannot write into {styles_dir()}: {error.strerror or error}") from error
    return read_style(goal)


def _copy(source: Path, goal: Path) -> None:
    if source.absolute() != goal.absolute():
        with replacing(goal) as temporary:
            shutil.copyfile(source, temporary)


# Previews


def preview_of(style: Style) -> Path | None:
    """The picture that was drawn here with the user's model, else the style's own; None: there is neither."""
    drawn = [styles_dir() / PREVIEWS / f"{style.name}{suffix}" for suffix in PICTURES]
    return next((path for path in drawn if path.is_file()), None) or _own_preview(style)


def _own_preview(style: Style) -> Path | None:
    if style.path is None or style.preview is None:
        return None
    path = style.path.parent / style.preview
    return path if path.is_file() else None


def save_preview(portrait: Portrait, path: Path) -> None:
    """A PNG as every portrait, or a WebP that is as small as a gallery wants it (lossy); both with their recipe."""
    if path.suffix.lower() != ".webp":
        save_portrait(portrait, path)
        return
    options = save_options(portrait.recipe, "WEBP") | {"lossless": False, "quality": 90, "method": 6}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            portrait.image.save(temporary, format="WEBP", **options)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error

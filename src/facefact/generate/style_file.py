"""A style's file: ours (YAML or JSON), or one of FaceChain's, read strictly: styles come from anywhere.

Ours has the fields of `Style`; FaceChain's is a JSON object with `name`, `img` (the preview), `model_id`, `revision`
and `bin_file` (a LoRA at ModelScope, or null), `multiplier_style` (its weight), `multiplier_human` (of a LoRA of the
person, which a face adapter does not need) and `add_prompt_style`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from facefact.checkpoint import replacing
from facefact.config import from_tree
from facefact.generate.text_to_image import Settings
from facefact.types import UserError

SUFFIXES = (".yaml", ".yml", ".json")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
LARGEST, LONGEST = 1 << 16, 2000  # bytes of a file; characters of a text
HERE = "{prompt}"  # where a style's words have the user's in them; else those come first
FACECHAIN = ("name", "img", "model_id", "revision", "bin_file", "multiplier_style", "multiplier_human")
Family = Literal["demo", "photo", "sd15", "sdxl"]


@dataclass(frozen=True, kw_only=True)
class StyleSettings:
    """What a style may say of a picture besides its words; None: nothing. As the fields of `Settings`."""

    steps: int | None = None
    scale: float | None = None
    guidance_scale: float | None = None
    start: float | None = None
    end: float | None = None
    local: bool | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, kw_only=True)
class LoraOfStyle:
    """file: its name; it lies beside the style or in the models directory. source: where it can be had."""

    file: str
    weight: float = 1.0
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Style:
    """name: what it is called by: small letters, digits and hyphens. title: for people. family: the models that it is
    for: the embedded one (demo), any of photos (photo), or of these one kind. prompt: words added to the user's, or a
    text with {prompt} where the user's goes. preview: the name of a picture beside the file. licence: of style and
    LoRA, as an SPDX name, "" if it is not stated. path: the file that it was read from."""

    name: str
    family: Family
    title: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    lora: LoraOfStyle | None = None
    settings: StyleSettings = StyleSettings()
    preview: str | None = None
    licence: str = ""
    path: Path | None = None

    @property
    def said(self) -> dict[str, Any]:
        """Of the settings those that it says anything of."""
        return {name: value for name, value in asdict(self.settings).items() if value is not None}

    @property
    def digest(self) -> str:
        """SHA-256 of what decides a picture: words, settings, the LoRA's name and weight."""
        lora = None if self.lora is None else [self.lora.file, self.lora.weight]
        decides = [self.prompt, self.negative_prompt, self.said, lora]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def read_style(path: str | Path) -> Style:
    """UserError, one line that names the file: it cannot be read, or is damaged."""
    path = Path(path)
    try:
        tree = _tree(path)
        style = _facechain(tree, path) if "add_prompt_style" in tree else _ours(tree)
        return replace(checked(style), path=path)
    except UserError as error:
        raise UserError(f"the style {path}: {error}") from error


def write_style(style: Style, path: Path) -> None:
    """As YAML, whole or not at all."""
    tree = {name: value for name, value in asdict(style).items() if name != "path" and value not in (None, "")}
    tree["settings"] = style.said
    text = yaml.safe_dump({name: one for name, one in tree.items() if one != {}}, sort_keys=False, allow_unicode=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def slug(text: str) -> str:
    """A style's name out of a text: "Autumn_populus" -> autumn-populus."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:64]


def _tree(path: Path) -> dict[str, Any]:
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"a style is a file whose name ends with {', '.join(SUFFIXES)}")
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"it has more than {LARGEST} bytes, which no style needs")
        text = path.read_text(encoding="utf-8-sig")
        tree = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"is damaged: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise UserError("holds no `name: value` lines")
    return tree


def _ours(tree: Mapping[str, Any]) -> Style:
    if "path" in tree:
        raise UserError("unknown setting path")
    known = {field.name for field in fields(Settings)} & set(tree)
    for name in known - {"prompt", "negative_prompt"}:
        raise UserError(f"{name} belongs under `settings:`")
    return from_tree(Style, tree)


def _facechain(tree: Mapping[str, Any], path: Path) -> Style:
    for name in FACECHAIN:
        if name not in tree:
            raise UserError(f"is one of FaceChain's and has no {name}")
    words, weight, image = tree["add_prompt_style"], tree["multiplier_style"], tree["img"]
    if not all(isinstance(one, str) for one in (tree["name"], words, image)):
        raise UserError("is one of FaceChain's; its name, img and add_prompt_style are texts")
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise UserError("is one of FaceChain's; its multiplier_style is a number")
    lora = None
    if tree["bin_file"]:
        source = f"{tree['model_id']} at ModelScope, revision {tree['revision']}"
        lora = LoraOfStyle(file=str(tree["bin_file"]), weight=float(weight), source=source)
    preview = _beside(image, path)
    return Style(name=slug(path.stem), family="sd15", title=tree["name"], prompt=words, lora=lora, preview=preview)


def _beside(image: str, path: Path) -> str | None:
    """FaceChain names its previews from its own folder on: relative to the style's, here; None: it is not there."""
    name = Path(image).name
    for up in path.absolute().parents[:4]:
        for place in (up / name, up / "style_image" / name):
            if place.is_file():
                return Path("../" * path.absolute().parents.index(up), place.relative_to(up)).as_posix()
    return None


def checked(style: Style) -> Style:
    """UserError: what the types do not say."""
    if not NAME.fullmatch(style.name):
        raise UserError(f"{style.name[:64]!r} is no name: small letters, digits and hyphens, up to 64")
    texts = {"title": style.title, "prompt": style.prompt, "negative_prompt": style.negative_prompt}
    for name, text in (texts | {"licence": style.licence}).items():
        if len(text) > LONGEST or not text.replace("\n", " ").isprintable():
            raise UserError(f"its {name} has more than {LONGEST} characters, or some that nobody can read")
    if style.prompt.count(HERE) > 1:
        raise UserError(f"its prompt has {HERE} more than once")
    if not (style.prompt or style.negative_prompt or style.lora or style.said):
        raise UserError("says nothing: neither words, nor a LoRA, nor settings")
    weights = [] if style.lora is None else [style.lora.weight]
    if not all(math.isfinite(one) for one in [*style.said.values(), *weights]):
        raise UserError("has a number that is not finite")
    if style.lora is not None and (Path(style.lora.file).name != style.lora.file or "\\" in style.lora.file):
        raise UserError(f"its LoRA {style.lora.file!r} is no plain file name")
    if style.preview is not None and Path(style.preview).suffix.lower() not in PICTURES:
        raise UserError(f"its preview {style.preview!r} is no picture's name ({', '.join(PICTURES)})")
    Settings(prompt="", **style.said)
    return style

"""What is known of where a picture comes from: its recipe, its source type, its signature, the mark in its pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from facefact.generate.metadata import recipe_in, user_comment
from facefact.generate.parameters import read_parameters
from facefact.generate.signing import GENERATOR, Signature, read_signature
from facefact.generate.template import open_template
from facefact.generate.watermark import Mark, find_mark
from facefact.types import UserError

SOURCE_TYPE = re.compile(rb"digitalsourcetype/([A-Za-z]{1,64})")
# The text chunks of other programs, which hold JSON.
PROGRAMS = {"invokeai_metadata": "InvokeAI", "sd-metadata": "InvokeAI", "workflow": "ComfyUI", "prompt": "ComfyUI"}
WEB_UI = "Stable Diffusion web UI"  # and whoever writes as it does
DAMAGED = "damaged"


@dataclass(frozen=True)
class Known:
    """Of one picture. program: who wrote what is said of its making: "facefact", another program's name, "damaged", or
    "" where nothing is said. recipe: ours, or the prompt and settings of another program. source: the IPTC digital
    source type that its metadata claims, "" if none. signature: None without one."""

    program: str
    recipe: dict[str, Any]
    source: str
    signature: Signature | None
    mark: Mark

    @property
    def ours(self) -> bool:
        """Whether anything says that facefact made it: its recipe, its mark or a signature that is whole. (A recipe can
        be copied by anybody; a signature of a trusted signer cannot.)"""
        signed = self.signature is not None and self.signature.state in ("trusted", "valid")
        by_us = signed and self.signature is not None and self.signature.generator == GENERATOR
        return self.program == GENERATOR or self.mark.found or by_us

    @property
    def broken(self) -> bool:
        """Whether it was changed since it was signed."""
        return self.signature is not None and self.signature.state == "tampered"


def known_of(path: str | Path, *, trusted: Sequence[bytes] = ()) -> Known:
    """trusted: certificates (PEM) of authorities, besides the own one. UserErrors as `open_picture`."""
    path = Path(path)
    pixels = open_template(path).colours  # (decodes it in every safe way; what follows may rely on that)
    try:
        with Image.open(path) as image:
            program, recipe = _said(image)
            xmp = image.info.get("xmp", b"")
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path}: its metadata cannot be read ({error})") from error
    found = SOURCE_TYPE.search(xmp.encode() if isinstance(xmp, str) else bytes(xmp))
    return Known(
        program=program,
        recipe=recipe,
        source=found[1].decode() if found else "",
        signature=read_signature(path, trusted=trusted),
        mark=find_mark(pixels),
    )


def _said(image: Image.Image) -> tuple[str, dict[str, Any]]:
    """(program, recipe)"""
    try:
        recipe = recipe_in(image)
    except (ValueError, TypeError, KeyError, RecursionError):
        return DAMAGED, {}
    if isinstance(recipe, dict):
        return GENERATOR, recipe
    if recipe is not None:
        return DAMAGED, {}
    text = image.info.get("parameters") or user_comment(image)
    if isinstance(text, str) and "Steps:" in text:
        prompt, negative, settings = read_parameters(text)
        return WEB_UI, {"prompt": prompt, "negative_prompt": negative, **settings}
    program = next((name for chunk, name in PROGRAMS.items() if chunk in image.info), "")
    return program, {}

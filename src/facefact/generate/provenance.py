"""What a picture's file is to say of where it comes from, besides its recipe: a signature, an invisible mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from facefact.generate.models import native_size
from facefact.generate.recipe import save_portrait
from facefact.generate.watermark import METHOD, mark, refuse_small
from facefact.types import Portrait, UserError

if TYPE_CHECKING:
    from facefact.generate.signing import Signer
    from facefact.generate.text_to_image import Settings


@dataclass(frozen=True)
class Provenance:
    """signer: signs the pictures. watermark: marks their pixels. template: what was worked on. photos: of the people in
    them. kept: the Content Credentials of such files, where only other ones of the same pixels are left."""

    signer: Signer | None = None
    watermark: bool = False
    template: Path | None = None
    photos: Sequence[Path] = ()
    kept: Sequence[bytes] = ()


NO_PROVENANCE = Provenance()


def save_with(provenance: Provenance, portrait: Portrait, path: Path) -> Portrait:
    """`save_portrait`, and before it the mark; what was saved. UserErrors as of both."""
    saved = marked(portrait) if provenance.watermark else portrait
    inputs: dict[str, Any] = {name: getattr(provenance, name) for name in ("template", "photos", "kept")}
    save_portrait(saved, path, provenance.signer, **inputs)
    return saved


def refuse_unmarkable(pipe: Any, settings: Settings) -> None:
    """UserError, before any work: pictures of these settings by this pipeline are too small for the mark."""
    side = native_size(pipe)
    refuse_small(settings.width or side, settings.height or side)


def wanting(path: Path, recipe: Mapping[str, Any], provenance: Provenance) -> str:
    """What a finished picture is not, and was asked to be: "marked", "signed" or ""."""
    if provenance.watermark and recipe.get("watermark") != METHOD:
        return "marked"
    if provenance.signer is None:
        return ""
    from facefact.generate.signing import has_manifest

    return "" if has_manifest(path) else "signed"


def marked(portrait: Portrait) -> Portrait:
    """With the invisible mark in its pixels, and its name in the recipe. UserError: too small, or grey."""
    image = portrait.image
    if image.mode not in ("RGB", "RGBA"):
        raise UserError("a grey picture has no colour that could carry the invisible mark: leave out --watermark")
    with_mark = Image.fromarray(mark(np.asarray(image.convert("RGB"))))
    if image.mode == "RGBA":
        with_mark.putalpha(image.getchannel("A"))
    with_mark.info |= image.info
    return Portrait(with_mark, portrait.recipe | {"watermark": METHOD})

"""What is special about the model that ships with the package: its settings, its words, its faces."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from facefact.generate.text_to_image import Settings
from facefact.types import FaceCrop

log = logging.getLogger("facefact")

S = TypeVar("S", bound=Settings)

DEMO = "demo"  # the name that it is opened by
DEMO_SETTINGS = {"guidance_scale": 3.0}  # what it was tuned and measured at
UNKNOWN_FACE = (
    "warning: %s: the demo model knows drawn avatars only, and this face is none: the portraits will not resemble it. "
    "For photos take a photo model: --model DIR|HUB_ID --adapter DIR"
)
UNKNOWN_WORDS = "warning: the demo model's captions have no word for: %s. It knows captions such as %r"
EXAMPLE_CAPTION = (
    "portrait of a person, with long red hair, smiling, turned left, wearing round glasses, in a blue hoodie, "
    "at the beach, warm light"
)
WORD = re.compile("[a-z][a-z-]*")


def settings_for(model: str, kind: type[S], **given: Any) -> S:
    """The settings record `kind` of what is given; what is None has the model's own default, else the record's."""
    defaults = DEMO_SETTINGS if model == DEMO else {}
    return kind(**(defaults | {name: value for name, value in given.items() if value is not None}))


def warn_of_words(prompts: Iterable[str], *, model: str) -> None:
    """Logs which words the demo model, which draws what its captions name, has never read."""
    if model != DEMO:
        return
    from facefact.world import corpus

    known = set(WORD.findall(" ".join(corpus()).lower()))
    unknown = [word for word in WORD.findall(" ".join(prompts).lower()) if word not in known]
    if unknown:
        log.warning(UNKNOWN_WORDS, ", ".join(unknown), EXAMPLE_CAPTION)


def warn_of_faces(photos: Sequence[str | Path], crops: Sequence[FaceCrop], *, model: str) -> None:
    """Logs which photos show somebody that the demo model cannot draw. crops: the face of each photo."""
    for photo, crop in zip(photos, crops, strict=True):
        if model == DEMO and crop.face.backend != "avatar":
            log.warning(UNKNOWN_FACE, photo)

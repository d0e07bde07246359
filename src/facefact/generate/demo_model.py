"""What is special about the model that ships with the package: its settings and its words."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from facefact.demo import DEMO, GUIDANCE_SCALE, PUBLISHED_GUIDANCE_SCALE, SCALE
from facefact.generate.expression import NAMED, expression_of
from facefact.generate.text_to_image import Settings
from facefact.generate.wording import completed
from facefact.types import Face

if TYPE_CHECKING:
    import numpy as np

    from facefact.generate.inpaint import InpaintSettings

log = logging.getLogger("facefact")

S = TypeVar("S", bound=Settings)

DEMO_SETTINGS: dict[str, Any] = {"guidance_scale": PUBLISHED_GUIDANCE_SCALE}
# Of portraits; templates and groups keep the published way, in which they were measured.
DEMO_PORTRAIT = {"guidance_scale": GUIDANCE_SCALE, "scale": SCALE, "face_guidance": False}
# Where its portraits have the face's box: middle and longer side, of 40 renders.
DEMO_SQUARE = {"context": 1.74, "centre": (0.497, 0.477)}
TURNED = 11.0  # degrees: between what its captions call facing forward and turned
UNKNOWN_WORDS = "warning: the demo model's captions have no word for: %s. It knows captions such as %r"
EXAMPLE_CAPTION = (
    "portrait of a person, with long red hair, smiling, turned left, wearing round glasses, in a blue hoodie, "
    "at the beach, warm light"
)
WORD = re.compile("[a-z][a-z-]*")


def settings_for(model: str, kind: type[S], **given: Any) -> S:
    """The settings record `kind` of what is given; what is None has the model's own default, else the record's."""
    defaults = DEMO_SETTINGS if model == DEMO else {}
    if model == DEMO and kind is Settings:
        defaults = defaults | DEMO_PORTRAIT
    if model == DEMO and "context" in kind.__dataclass_fields__:
        defaults = defaults | DEMO_SQUARE
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


def words_for_template(face: Face, settings: InpaintSettings, *, model: str, picture: np.ndarray) -> tuple[str, str]:
    """What to add to a prompt for a face of a template, an (h, w, 3) uint8 RGB picture, and the word of its expression
    among that ("" where nothing is said of it).

    The expression where the prompt names none, for any model (unless the settings say otherwise): next to nothing of
    the old mouth is left under what is repainted. For the demo model also how the head is turned, which others read
    from control images, and for the shape "person", which draws a head of its own, some hair."""
    from facefact.world.caption import POSE

    kept = settings.keep_expression and not NAMED.search(settings.prompt)
    expression = expression_of(picture, face) if kept else ""
    words = [expression] if expression else []
    if model == DEMO:
        turned = POSE["left" if face.pose.yaw < -TURNED else "right" if face.pose.yaw > TURNED else "front"]
        words += [] if any(one in settings.prompt for one in POSE.values()) else [turned]
        if settings.shape == "person":
            words += completed(settings.prompt, settings.seed, names=("hair",))[1]
    return ", ".join(words), expression

"""The embedded bundle: where it lies, what it says of itself, and how it is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from facefact.types import UserError

BUNDLE = Path(__file__).parent / "bundle"
JUDGES = Path(__file__).parent / "judges"
DEMO = "demo"  # the name that it is opened by
# What the bundle was measured at and is drawn best with, guidance being of the words alone: docs/evidence/figures.md,
# "What guidance does to a face".
GUIDANCE_SCALE, SCALE = 2.5, 1.1
PUBLISHED_GUIDANCE_SCALE = 3.0  # of templates and groups, whose guidance strengthens the face too


def bundle_path() -> Path:
    """The directory of the base model (a Stable Diffusion pipeline) with `adapter/` and `face_detector/` inside."""
    if not (BUNDLE / "model_index.json").is_file():
        raise UserError(
            "this installation has no embedded model: install a release, or build it: facefact train configs/world.yaml"
        )
    return BUNDLE


def judges_path() -> Path:
    """The directory of what only the evaluation needs: recogniser, reader, the adapter trained without FAIR."""
    if not JUDGES.is_dir():
        raise UserError("this installation has no judges: build them with facefact train configs/world.yaml")
    return JUDGES


def scores() -> dict[str, Any]:
    """The figures of the committed bundle, as `facefact eval world` wrote them when it was built; empty before."""
    path = BUNDLE / "scores.json"
    return json.loads(path.read_text()) if path.is_file() else {}

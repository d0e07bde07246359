"""What a report is, and its JSON: schema `facefact.report`, version 1.

    {"schema": "facefact.report", "version": 1, "suite": str, "about": {...},
     "methods": {METHOD: {FIGURE: {"value", "low", "high", "n"}}},
     "matrices": {TITLE: {"rows": [...], "columns": [...], "values": [[...]]}}}

Names of figures are dotted ("leakage.glasses"). Nothing in it says when or where it was made: the same suite and seed
give the same file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facefact.metrics.scores import Figure
from facefact.types import UserError

SCHEMA, VERSION = "facefact.report", 1
FILE = "report.json"


@dataclass(frozen=True)
class Tile:
    """A picture of a gallery: (h, w, 3) uint8, its name, smaller words."""

    pixels: np.ndarray
    name: str
    words: str = ""


def beside(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Two (h, w, 3) uint8 pictures side by side, the second as high as the first."""
    height, width = one.shape[0], round(other.shape[1] * one.shape[0] / other.shape[0])
    if other.shape[0] != height:
        other = cv2.resize(other, (width, height), interpolation=cv2.INTER_AREA)
    return np.concatenate([one, other], 1)


@dataclass(frozen=True)
class Heat:
    """values: (rows, columns), NaN where there is nothing to say; 1 is the strongest colour."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: np.ndarray


@dataclass(frozen=True)
class Report:
    """methods: by name the figures by dotted name. words: what a figure's first part means, for readers."""

    suite: str
    about: Mapping[str, Any]
    methods: Mapping[str, Mapping[str, Figure]]
    words: Mapping[str, str] = field(default_factory=dict)
    matrices: Mapping[str, Heat] = field(default_factory=dict)
    galleries: Mapping[str, tuple[Tile, ...]] = field(default_factory=dict)


def flat(tree: Mapping[str, Any], name: str = "") -> dict[str, Figure]:
    """Nested figures -> by dotted name."""
    found: dict[str, Figure] = {}
    for key, value in tree.items():
        dotted = f"{name}.{key}" if name else key
        found |= {dotted: value} if isinstance(value, Figure) else flat(value, dotted)
    return found


def as_json(report: Report) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "suite": report.suite,
        "about": dict(report.about),
        "methods": {
            name: {key: one.as_json() for key, one in figures.items()} for name, figures in report.methods.items()
        },
        "matrices": {
            title: {"rows": list(one.rows), "columns": list(one.columns), "values": _cells(one.values)}
            for title, one in report.matrices.items()
        },
    }


def _cells(values: np.ndarray) -> list[list[float | None]]:
    return [[round(float(cell), 4) if np.isfinite(cell) else None for cell in row] for row in values]


def read_report(path: Path) -> dict[str, Any]:
    """The JSON of a report folder, or of its file. UserError: it is none, or of another version."""
    path = path / FILE if path.is_dir() else path
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): name a report's folder") from error
    except ValueError as error:
        raise UserError(f"{path} is no JSON: name a report's folder or its {FILE}") from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise UserError(f"{path} is no report: name the folder that --out wrote")
    if found.get("version") != VERSION:
        raise UserError(f"{path} is a report of version {found.get('version')}, this facefact reads {VERSION}")
    return found

"""Glasses in a photo: edges where a face without glasses has none, above all the bridge on the nose.

A linear discriminant on how strong the edges are in a 6 x 8 grid about one eye (both eyes' mean), across and along.
glasses.json was fitted on 358 press photos (LFW), 76 of them, of 20 people, with glasses; docs/evidence/avatar.md says
what it finds of people whom the fit has not seen.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from facefact.world.likeness.sight import Sight

FILE = Path(__file__).parent / "glasses.json"
WIDTH, HEIGHT = 96, 64  # pixels of the patch
PLACES = np.array([[26, 26], [70, 26], [48, 62]], np.float32)  # of both eyes' middles and the nose's base in it
COLUMNS, ROWS = 6, 8  # of the grid, which covers the patch's left half between these lines
BETWEEN = (16, 48)
FAINT = 0.02  # of an edge in units of the patch's contrast: less is noise


def glasses_in(sight: Sight) -> dict[str, str]:
    """{"glasses": "round"}, or nothing: none, or not found. (Dark glasses are not told from deep eyes in shadow.)"""
    assert sight.mesh is not None
    told = _fitted()
    score = float((edges(eye_patch(sight)) - told["mean"]) / told["spread"] @ told["weights"])
    return {"glasses": "round"} if score >= float(told["threshold"]) else {}


@cache
def _fitted() -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in json.loads(FILE.read_text(encoding="utf-8")).items()}


def eye_patch(sight: Sight) -> np.ndarray:
    """(HEIGHT, WIDTH) float32 L*: the eyes, sheared so that both eyes and the nose's base have their places."""
    assert sight.mesh is not None
    points = sight.mesh[:, :2].astype(np.float32)
    source = np.stack([points[[33, 133]].mean(0), points[[263, 362]].mean(0), points[2]])
    matrix = cv2.getAffineTransform(source, PLACES)
    patch = cv2.warpAffine(sight.view, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_AREA)
    return cv2.cvtColor(patch, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32)


def edges(patch: np.ndarray) -> np.ndarray:
    """(2 * ROWS * COLUMNS,) logarithms of the strength of edges along and across, both eyes' mean."""
    smooth = cv2.GaussianBlur(patch, (0, 0), 0.8)
    contrast = _contrast(smooth)
    grids = []
    for dx, dy in ((0, 1), (1, 0)):
        strength = np.log(np.abs(cv2.Sobel(smooth, cv2.CV_32F, dx, dy)) / contrast + FAINT)
        half = ((strength + strength[:, ::-1]) / 2)[slice(*BETWEEN), : WIDTH // 2]
        grids.append(cv2.resize(half, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA).ravel())
    return np.concatenate(grids)


def _contrast(patch: np.ndarray) -> float:
    """Standard deviation of the inner patch, and a little more: flat patches have no edges."""
    return float(patch[20:60, 20:76].std()) + 6

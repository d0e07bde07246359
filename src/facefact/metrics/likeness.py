"""What a similarity of two faces means: in units in which two strangers are 0 and two pictures of one person are 1.

A cosine of 0.6 is a look-alike for one recogniser and the same person for another. So each is calibrated on pairs of
real pictures, of one person and of two.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facefact.checkpoint import replacing
from facefact.metrics.verification import all_pairs
from facefact.types import UserError

FORMAT, VERSION = "facefact.likeness", 1
SHIPPED = Path(__file__).with_name("likeness.json")  # the portrait world's; `facefact card calibrate --world` makes it
PERCENTILES = ("5", "25", "50", "75", "95")
AS_ONE, AS_ONE_LESS, BETWEEN, AS_STRANGERS = (
    "as two real pictures of one person",
    "as two real pictures of one person that are less alike than most",
    "more alike than two strangers, less than two real pictures of one person",
    "as two strangers",
)


@dataclass(frozen=True)
class Calibration:
    """recogniser: whose similarities they are (`data.recognisers`). people, pictures: on which it was measured. same,
    different: percentiles (PERCENTILES) of the similarities of two pictures of one person, and of two."""

    recogniser: str
    people: int
    pictures: int
    same: Mapping[str, float]
    different: Mapping[str, float]

    def likeness(self, similarity: float) -> float:
        """In natural units: 0 is the median of two strangers, 1 that of two real pictures of one person; beyond both
        it goes on. NaN stays."""
        strangers = self.different["50"]
        return (similarity - strangers) / (self.same["50"] - strangers)

    def in_words(self, similarity: float) -> str:
        """What it is like. Three of four pairs of one person are "as two real pictures of one person"; 19 of 20 pairs
        of strangers, where the recogniser tells people apart, "as two strangers". "" of NaN: no face was found."""
        if math.isnan(similarity):
            return ""
        if similarity >= self.same["25"]:
            return AS_ONE
        if similarity >= max(self.same["5"], self.different["95"]):
            return AS_ONE_LESS
        return BETWEEN if similarity >= self.different["95"] else AS_STRANGERS


def calibration_of(embeddings: np.ndarray, people: np.ndarray, *, recogniser: str) -> Calibration:
    """From (n, d) unit embeddings of real pictures, and (n,) whose they are, from 0 on. UserError: there are no two
    people, nobody has two pictures, or the recogniser does not tell them apart."""
    pairs = all_pairs(embeddings, people)
    if pairs.same.all() or not pairs.same.any():
        raise UserError("give pictures of at least two people, and at least two of one of them")
    same, different = (_percentiles(pairs.similarity[which]) for which in (pairs.same, ~pairs.same))
    if same["50"] <= different["50"]:
        raise UserError(
            f"{recogniser} does not tell these people apart: two pictures of one are {same['50']:.2f} alike, of two "
            f"{different['50']:.2f}; is there one folder for each person?"
        )
    return Calibration(recogniser, len(np.unique(people)), len(people), same, different)


def _percentiles(similarity: np.ndarray) -> dict[str, float]:
    found = np.percentile(similarity, [float(name) for name in PERCENTILES])
    return {name: round(float(value), 4) for name, value in zip(PERCENTILES, found, strict=True)}


def save_calibrations(several: Iterable[Calibration], path: Path) -> None:
    """JSON, under a temporary name first. UserError: the disk does not take it."""
    told = {"format": FORMAT, "version": VERSION, "calibrations": [asdict(one) for one in several]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def load_calibrations(path: str | Path = SHIPPED) -> dict[str, Calibration]:
    """By the recogniser's name. UserError: there is no such file, or it is none."""
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(told, dict) or told.get("format") != FORMAT or told.get("version") != VERSION:
        raise UserError(f"{path} is no calibration; `facefact card calibrate` makes one")
    try:
        return {one.recogniser: one for one in map(_calibration, told["calibrations"])}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is a damaged calibration: `facefact card calibrate` makes another") from error


def _calibration(said: Mapping[str, Any]) -> Calibration:
    """ValueError, KeyError, TypeError: it is none."""
    same, different = ({name: float(said[kind][name]) for name in PERCENTILES} for kind in ("same", "different"))
    if not same["50"] > different["50"] or not np.isfinite([*same.values(), *different.values()]).all():
        raise ValueError
    return Calibration(str(said["recogniser"]), int(said["people"]), int(said["pictures"]), same, different)

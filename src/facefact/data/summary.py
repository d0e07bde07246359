"""What a finished dataset folder says of itself, for its report and its card.

DATASET/index.parquet (fields of `records.Row`, person, split, outlier, shard, offset, length), rejected.parquet (fields
of `records.Rejection`) and prepare.json: `layout`, `counts` ({"inputs": number of entries}), `settings` (the tree of a
PrepareConfig) and `models` (a list of {"stage", "name", "licence"}). What prepare.json does not say is left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facefact.data.dataset import ABOUT, INDEX, REJECTED
from facefact.data.tables import arrow
from facefact.page import without_paths
from facefact.types import UserError

if TYPE_CHECKING:
    import pyarrow

MEASURES = ("yaw", "pitch", "roll", "face_size", "sharpness", "brightness", "quality")
TEXTS = ("licence", "caption_by", "detector")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Stage:
    """does: what happens in it, and whom it rejects. settings: that decide it, as `--set` names them."""

    does: str
    settings: tuple[str, ...] = ()


STAGES: dict[str, Stage] = {  # in the order in which a picture meets them
    "decode": Stage(
        "read, turned upright, shrunk; what is no picture, damaged, too large or too small is rejected",
        ("decode.max_bytes", "decode.max_pixels", "decode.min_side", "decode.max_side", "decode.animated"),
    ),
    "detect": Stage(
        "faces are found, and it is decided whose picture it is",
        ("face.detector", "face.several", "face.second", "face.min_score"),
    ),
    "size": Stage("small faces are rejected", ("face.min_size",)),
    "pose": Stage("faces that look far away are rejected", ("face.max_yaw", "face.max_pitch", "face.max_roll")),
    "quality": Stage(
        "blurred, dark, bright and clipped faces are rejected",
        ("quality.min_sharpness", "quality.dark", "quality.bright", "quality.max_clipped", "quality.min_quality"),
    ),
    "masks": Stage("face and head are outlined, the aligned crop is made"),
    "cover": Stage(
        "faces behind hands or objects are rejected",
        ("cover.max_covered", "cover.hands", "cover.skin", "cover.parsing"),
    ),
    "duplicates": Stage("of pictures that are the same or nearly so, the best one stays", ("duplicates.distance",)),
    "person": Stage(
        "pictures unlike the rest of their person are outliers; those of nobody known are grouped by their faces; "
        "people with too few pictures are rejected",
        ("people.recogniser", "people.outlier", "people.outliers", "people.cluster", "people.min_pictures"),
    ),
}
FACES_FROM = "size"  # the first stage that looks at one face, and not at a picture


@dataclass(frozen=True)
class Step:
    """How many went into a stage, and how many of them it rejected for which reason (the most frequent first)."""

    stage: str
    into: int
    reasons: Mapping[str, int]

    @property
    def lost(self) -> int:
        return sum(self.reasons.values())

    @property
    def out(self) -> int:
        return self.into - self.lost


@dataclass(frozen=True)
class Person:
    pictures: int
    split: str


@dataclass(frozen=True)
class Summary:
    """inputs: pictures of the input that became a sample or a rejection. listed: as prepare.json says, None if it does
    not. rejected: (stage, reason) -> how many. measures: (kept,) of each of MEASURES. texts: value -> how many, of each
    of TEXTS, "unknown" where there is none. people: the most pictures first. shards: name -> bytes."""

    about: Mapping[str, Any]
    inputs: int
    listed: int | None
    kept: int
    outliers: int
    rejected: Mapping[tuple[str, str], int]
    measures: Mapping[str, np.ndarray]
    texts: Mapping[str, Mapping[str, int]]
    people: Mapping[str, Person]
    shards: Mapping[str, int]

    @classmethod
    def read(cls, dataset: Path) -> Summary:
        """UserError: the folder is no dataset of `facefact prepare`, or it is not finished."""
        index = read_columns(dataset / INDEX, ["name", "person", "split", "outlier", *MEASURES, *TEXTS])
        rejected = read_columns(dataset / REJECTED, ["name", "stage", "reason"])
        about = read_about(dataset / ABOUT)
        listed = group(about, "counts").get("inputs")
        return cls(
            about=about,
            inputs=distinct(index.column("name"), rejected.column("name")),
            listed=listed if isinstance(listed, int) else None,
            kept=index.num_rows,
            outliers=sum(map(bool, index.column("outlier").to_pylist())),
            rejected=Counter(zip(*(rejected.column(name).to_pylist() for name in ("stage", "reason")), strict=True)),
            measures={name: np.asarray(index.column(name).to_numpy(), np.float64) for name in MEASURES},
            texts={name: frequent(value or UNKNOWN for value in index.column(name).to_pylist()) for name in TEXTS},
            people=read_people(index),
            shards={path.name: path.stat().st_size for path in sorted((dataset / "shards").glob("*.tar"))},
        )

    @property
    def lost(self) -> int:
        """How many were rejected."""
        return sum(self.rejected.values())

    @property
    def further(self) -> int:
        """Faces beyond the first of their picture, each with a row of its own."""
        return self.kept + self.lost - self.inputs

    @property
    def missing(self) -> int:
        """Entries that were listed and are nowhere (0 as it should be)."""
        return 0 if self.listed is None else self.listed - self.inputs

    @property
    def title(self) -> str:
        return f"{counted(self.kept, 'portrait')} of {counted(len(self.people), 'person', 'people')}"

    def steps(self) -> list[Step]:
        """The row of stages; what the last one lets out is what was kept."""
        unknown = sorted({stage for stage, _ in self.rejected} - STAGES.keys())
        left, steps = self.inputs, []
        for stage in (*STAGES, *unknown):
            if stage == FACES_FROM:
                left += self.further
            reasons = {reason: count for (where, reason), count in self.rejected.items() if where == stage}
            steps.append(Step(stage, left, dict(sorted(reasons.items(), key=lambda one: (-one[1], one[0])))))
            left = steps[-1].out
        return steps

    def of_split(self, split: str) -> tuple[int, int]:
        """Pictures and people of "train" or "validation"."""
        found = [one.pictures for one in self.people.values() if one.split == split]
        return sum(found), len(found)

    def setting(self, name: str) -> Any:
        """By its dotted name; None when prepare.json does not say it."""
        tree: Any = group(self.about, "settings")
        for part in name.split("."):
            tree = tree.get(part) if isinstance(tree, dict) else None
        return tree

    def models(self) -> list[tuple[str, str, str]]:
        """Stage, name and licence of each model, without the folders that they lie in."""
        listed = self.about.get("models")
        found = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        names = ("stage", "name", "licence")
        return [tuple(without_paths(str(one.get(name) or "not stated")) for name in names) for one in found]  # type: ignore[misc]


def counted(count: int, one: str, several: str = "") -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def group(tree: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = tree.get(name)
    return value if isinstance(value, dict) else {}


def frequent(values: Any) -> dict[str, int]:
    """How often each comes, the most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda one: (-one[1], one[0])))


def read_columns(path: Path, names: list[str]) -> pyarrow.Table:
    pa = arrow()
    if not path.is_file():
        raise UserError(f"{path.parent} has no {path.name}: `facefact prepare INPUT --out {path.parent}` makes it")
    try:
        with pa.parquet.ParquetFile(path) as file:
            return file.read(columns=names).select(names)
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"{path} is not a whole {path.name} of facefact ({line}); prepare it anew") from error


def read_about(path: Path) -> dict[str, Any]:
    """{} without the file."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}; run the same `facefact prepare` again") from error
    return tree if isinstance(tree, dict) else {}


def distinct(*columns: pyarrow.ChunkedArray) -> int:
    from pyarrow import compute

    pa = arrow()
    chunks = [chunk.cast(pa.large_string()) for column in columns for chunk in column.chunks]
    return int(compute.count_distinct(pa.chunked_array(chunks, pa.large_string())).as_py())


def read_people(index: pyarrow.Table) -> dict[str, Person]:
    names, splits = (index.column(name).to_pylist() for name in ("person", "split"))
    split_of = dict(zip(names, splits, strict=True))
    return {str(name): Person(count, str(split_of[name])) for name, count in frequent(names).items()}

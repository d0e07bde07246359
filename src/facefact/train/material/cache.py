"""Everything frozen that `fill` has computed, read back sample by sample."""

from __future__ import annotations

import json
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from facefact.train.material.people import People
from facefact.train.material.samples import Phrase, picture_key
from facefact.types import UserError

MEMORY = 4 << 30  # bytes: a cache up to this size is held in memory
OPEN_SHARDS = 128  # of a larger one
EMPTY = "empty.safetensors"
NOTES = "said"  # the key of a shard's notes in its header; JSON
# The small tensors, held in memory whatever the size.
NUMBERS = ("yaw", "light", "face_size", "time_ids", "place", "text_row")


@dataclass
class Notes:
    """What a shard says of its samples in words. keys, persons, phrases (each its text, and whether it may be left
    out): of the usable ones, in their order. left_out: key, picture and reason of each other one."""

    keys: list[str] = field(default_factory=list)
    persons: list[str] = field(default_factory=list)
    phrases: list[list[tuple[str, bool]]] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)


def read_notes(path: Path) -> Notes | None:
    """Those of a file; None where it is missing or damaged (its length is not what its header says)."""
    try:
        with safe_open(path, "pt") as opened:
            return Notes(**json.loads(opened.metadata()[NOTES]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


class Cache:
    """n usable samples of one source, in its order.

    keys (n). persons: (n,) int, indices into person_names. photos: (n,) int, of which picture each is a view. shapes:
    (n, 2) int, height and width in pixels. yaw (degrees), light, face_size: (n,) float32. people: the index by person.
    left_out: the samples that are not usable: key, picture, reason. about: what decided the contents.
    """

    def __init__(self, index: Path, *, memory: int = MEMORY) -> None:
        """index: what `fill` returned. memory: bytes; a larger cache is read from the disk row by row.

        UserError: a shard is missing or damaged, or no sample is usable."""
        self.about, paths = _read_index(index)
        notes = [_notes(path) for path in paths]
        self.keys = [key for one in notes for key in one.keys]
        self.left_out = [row for one in notes for row in one.left_out]
        if not self.keys:
            reasons = [f"{n} x {why}" for why, n in _reasons(self.left_out).items()]
            raise UserError(f"no picture is usable: {', '.join(reasons) or 'there is none'}")
        self._phrases = [tuple(Phrase(*p) for p in phrases) for one in notes for phrases in one.phrases]
        people = [name for one in notes for name in one.persons]
        self.person_names = list(dict.fromkeys(people))
        number = {name: i for i, name in enumerate(self.person_names)}
        self.persons = np.array([number[name] for name in people])
        photo = {name: i for i, name in enumerate(dict.fromkeys(map(picture_key, self.keys)))}
        self.photos = np.array([photo[picture_key(key)] for key in self.keys])

        filled = [path for path, one in zip(paths, notes, strict=True) if one.keys]
        counts = [len(one.keys) for one in notes if one.keys]
        self._shard, self._row = np.repeat(np.arange(len(filled)), counts), np.concatenate([*map(np.arange, counts)])
        numbers = [_numbers(path) for path in filled]
        self._numbers = {name: np.concatenate([one[name] for one in numbers]) for name in numbers[0]}
        self.shapes = self._numbers["time_ids"][:, 4:].astype(int)
        self._index_people()
        in_memory = sum(path.stat().st_size for path in filled) <= memory
        self._rows: Rows = RowsInMemory(filled) if in_memory else RowsOnDisk(filled)
        self._empty = _read_empty(index.parent / EMPTY) if self.about["text"] else {}

    @classmethod
    def open(cls, index: Path, *, memory: int = MEMORY) -> Cache:
        return cls(index, memory=memory)

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, index: np.ndarray) -> Cache:
        """The cache of some samples (k,) int alone, in that order (the validation's people, or all others), uncopied.
        Persons keep their numbers."""
        part = copy(self)
        part.keys, part._phrases = [self.keys[i] for i in index], [self._phrases[i] for i in index]
        part.persons, part._shard, part._row = self.persons[index], self._shard[index], self._row[index]
        part.photos, part.shapes = self.photos[index], self.shapes[index]
        part._numbers = {name: values[index] for name, values in self._numbers.items()}
        part._index_people()
        return part

    def _index_people(self) -> None:
        self.yaw, self.light, self.face_size = (self._numbers[name] for name in ("yaw", "light", "face_size"))
        self.people = People(
            persons=self.persons,
            yaw=self.yaw,
            light=self.light,
            face_size=self.face_size,
            photos=self.photos,
            shapes=self.shapes,
        )

    def phrases(self, index: int) -> tuple[Phrase, ...]:
        """The parts of a sample's caption."""
        return self._phrases[index]

    @property
    def first_views(self) -> np.ndarray:
        """(n,) bool: the pictures as they are."""
        return np.array([picture_key(key) == key for key in self.keys])

    def alike(self, rows: np.ndarray) -> np.ndarray:
        """Of the rows (k,) int those of the commonest shape, the only ones that fit into one batch; all of them where
        there are no buckets."""
        shapes, which = np.unique(self.shapes[rows], axis=0, return_inverse=True)
        return rows[which.reshape(-1) == np.bincount(which.reshape(-1)).argmax()] if len(shapes) > 1 else rows

    def gather(self, index: np.ndarray) -> dict[str, Tensor]:
        """Of the pictures (b,) of one shape, float32 unless said otherwise: latents (b, c, h, w) as the U-Net reads
        them; face (b, h, w), share of each latent cell that is face; head_mask (b, 112, 112) bool, what of the aligned
        head is head; head_to_picture (b, 2, 3) from pixels of the aligned head to those of the picture; time_ids (b,
        6); light (b,) mean luminance of the face in [0, 1]."""
        bits = self._read("shown", index, self._row).numpy()
        return {
            "latents": self._cells("latents", index).float(),
            "face": self._cells("face", index).float() / 255,
            "head_mask": torch.from_numpy(np.unpackbits(bits, axis=-1).astype(bool)),
            "time_ids": torch.from_numpy(self._numbers["time_ids"][index]),
            "head_to_picture": torch.from_numpy(self._numbers["place"][index]),
            "light": torch.from_numpy(self.light[index]),
        }

    def tokens_of(self, index: np.ndarray) -> Tensor:
        """(k,) -> (k, t, width) float32: the encoder's of each sample's own face."""
        return self._read("tokens", index, self._row).float()

    def text_of(self, index: np.ndarray, *, dropped: np.ndarray | None = None) -> dict[str, Tensor]:
        """(k,) -> text (k, length, width), the states of the whole captions, and with SDXL pooled (k, width); float32.

        dropped: (k,) bool, where the empty prompt takes the caption's place. ValueError: the cache was filled without
        text."""
        made = {name: self._read(name, index, self._numbers["text_row"]).float() for name in self.empty_text()}
        if dropped is not None:
            for name, empty in self.empty_text().items():
                made[name][torch.from_numpy(dropped)] = empty[0]
        return made

    def empty_text(self) -> dict[str, Tensor]:
        """The same of the empty prompt: text (1, length, width), with SDXL pooled (1, width)."""
        if not self._empty:
            raise ValueError("this cache was filled without text")
        return self._empty

    def counts(self) -> dict[str, Any]:
        """usable, persons, persons_of_one_picture (who can only stand for themselves), left_out by reason; pictures
        with all their views count once."""
        photos = dict(zip(self.photos.tolist(), self.persons.tolist(), strict=True))
        of_person = Counter(photos.values())
        return {
            "usable": len(photos),
            "persons": len(of_person),
            "persons_of_one_picture": sum(n == 1 for n in of_person.values()),
            "left_out": _reasons(self.left_out),
        }

    def _cells(self, name: str, index: np.ndarray) -> Tensor:
        """(b, ..., h, w) of pictures of one shape; with buckets they are stored as a row of cells, filled up.
        ValueError: of several shapes."""
        stored = self._read(name, index, self._row)
        if not self.about.get("rows"):
            return stored
        if len(np.unique(self.shapes[index], axis=0)) > 1:
            raise ValueError("pictures of several shapes do not fit into one batch")
        height, width = (self.shapes[index[0]] // self.about["rows"]).tolist()
        return stored[..., : height * width].unflatten(-1, (height, width))

    def _read(self, name: str, index: np.ndarray, row: np.ndarray) -> Tensor:
        """(k, ...) of the samples index (k,); row: (n,) of every sample, where in its shard's tensor `name` it is."""
        return self._rows.read(name, self._shard[index], row[index])


def _reasons(left_out: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """How often each, the commonest first; what is said in brackets or after a semicolon is of one picture."""
    return dict(Counter(re.split(r" \(|;", row["reason"])[0] for row in left_out).most_common())


def _notes(path: Path) -> Notes:
    notes = read_notes(path)
    if notes is None:
        raise UserError(f"the cache lacks {path}, or it is damaged: run the same command again")
    return notes


def _read_index(index: Path) -> tuple[dict[str, Any], list[Path]]:
    """What decided the contents, and the shards."""
    try:
        read = json.loads(index.read_text(encoding="utf-8"))
        return read["about"], [index.parent / name for name in read["shards"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{index} is no set of a cache: run the same command again") from error


def _read_empty(path: Path) -> dict[str, Tensor]:
    """Of the empty prompt, float32: text (1, length, width), with SDXL pooled (1, width)."""
    _notes(path)  # (that it is whole)
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def _numbers(path: Path) -> dict[str, np.ndarray]:
    """The small tensors of a shard, (m, ...) each."""
    with safe_open(path, "pt") as opened:
        return {name: opened.get_tensor(name).numpy().copy() for name in NUMBERS if name in opened.keys()}  # noqa: SIM118


# Rows of the large tensors


class Rows(Protocol):
    """Where rows of the large tensors come from."""

    def read(self, name: str, shard: np.ndarray, row: np.ndarray) -> Tensor:
        """(k, ...) as stored. shard, row: (k,) int, which shard, and which row of its tensor `name`."""
        ...


class RowsInMemory:
    """All of them, read once."""

    def __init__(self, paths: Sequence[Path]) -> None:
        shards = [load_file(path) for path in paths]
        names = set(shards[0]) - set(NUMBERS)
        self.tensors = {name: torch.cat([one[name] for one in shards]) for name in names}
        self.first = {name: np.cumsum([0, *(len(one[name]) for one in shards[:-1])]) for name in names}

    def read(self, name: str, shard: np.ndarray, row: np.ndarray) -> Tensor:
        return self.tensors[name][torch.from_numpy(self.first[name][shard] + row)]


class RowsOnDisk:
    """Opens a shard when a row of it is asked for, and keeps the last ones open."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self.opened: OrderedDict[int, Any] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "opened": OrderedDict()}  # another process opens its own

    def read(self, name: str, shard: np.ndarray, row: np.ndarray) -> Tensor:
        rows: list[Any] = [None] * len(row)
        for number in np.unique(shard).tolist():
            stored = self._open(number).get_slice(name)
            for place in np.flatnonzero(shard == number).tolist():
                rows[place] = stored[int(row[place])]
        return torch.stack(rows)

    def _open(self, number: int) -> Any:
        if number not in self.opened:
            self.opened[number] = safe_open(self.paths[number], "pt").__enter__()
            if len(self.opened) > OPEN_SHARDS:
                self.opened.popitem(last=False)
        self.opened.move_to_end(number)
        return self.opened[number]

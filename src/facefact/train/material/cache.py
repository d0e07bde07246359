"""Everything frozen, computed once: the latents, face tokens, face shares and text states of every sample on disk.

    CACHE/<fingerprint>/<hash of its keys>.safetensors    a shard: up to 256 samples in a row
    CACHE/<fingerprint>/<hash of all keys>.json           a set: the shards of one source, in its order
    CACHE/<fingerprint>/empty.safetensors                 the text states of the empty prompt
    CACHE/<fingerprint>/<the same>.left_out.jsonl         its samples that are not usable, each with the reason

The fingerprint is that of all that decides the contents besides the keys (size, source, frozen weights, types): runs
may share a folder, a changed setting never meets old contents, and deleting any of it costs only the time to make it
again. A shard is written whole or not at all; a damaged one is made anew. Several processes fill one set together.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from facefact.checkpoint import replacing
from facefact.faces.align import alignment, inverse
from facefact.faces.mask import filled
from facefact.metrics.views import to_pixels
from facefact.train.material.encode import encode_faces, encode_pictures, encode_text
from facefact.train.material.frozen import Frozen
from facefact.train.material.samples import Phrase, Sample, Source
from facefact.types import UserError

VERSION = 2
SHARD = 256  # samples
PIXELS_AT_ONCE = 16 * 256 * 256  # through the autoencoder
CAPTIONS_AT_ONCE = 32
MEMORY = 4 << 30  # bytes: a cache up to this size is held in memory
OPEN_SHARDS = 128  # of a larger one
EMPTY = "empty.safetensors"
SAID = "said"  # the key of what a file says of its samples, JSON
NUMBERS = ("yaw", "light", "face_size", "time_ids", "place", "text_row")
HALF = torch.float16


# What it is for: the fingerprint


def description(source: Source, frozen: Frozen, *, size: int, text: bool) -> dict[str, Any]:
    """All that decides the contents of a shard besides its keys."""
    parts = ("vae", "encoder", "text") if text else ("vae", "encoder")
    return {
        "version": VERSION,
        "size": size,
        "text": text,
        "source": dict(source.about()),
        "frozen": {name: frozen.hashes[name] for name in parts},
        "dtype": str(frozen.unet.dtype),
    }


def fingerprint(about: Mapping[str, Any]) -> str:
    return _hash(json.dumps(about, sort_keys=True))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# Filling


@dataclass(frozen=True)
class Shard:
    """samples: indices into the source, in a row."""

    path: Path
    samples: range
    keys: tuple[str, ...]


def shards_of(keys: Sequence[str], folder: Path) -> list[Shard]:
    """Named by their keys, so that a set that grows at its end keeps all but its last shard."""
    chunks = [range(first, min(first + SHARD, len(keys))) for first in range(0, len(keys), SHARD)]
    named = [(chunk, tuple(keys[i] for i in chunk)) for chunk in chunks]
    return [Shard(folder / f"{_hash(' '.join(own))}.safetensors", chunk, own) for chunk, own in named]


def fill(
    source: Source,
    frozen: Frozen,
    folder: Path,
    *,
    size: int,
    text: bool = True,
    rank: int = 0,
    world_size: int = 1,
    progress: bool = True,
) -> Path:
    """Compute what is not in the folder yet; returns the set's file, for `Cache.open` once all processes are done.

    size: pixels of a picture's side. text: the text states too; False where the text model runs in every step. rank,
    world_size: of the processes that fill it together. UserError: a size that the model cannot have, a full disk,
    values that are not finite.
    """
    if size % frozen.factor:
        raise UserError(f"data.size={size} is no multiple of {frozen.factor}, the pixels of a latent cell")
    about = description(source, frozen, size=size, text=text)
    folder = folder / fingerprint(about)
    keys = list(source.keys())
    shards = shards_of(keys, folder)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        index = folder / f"{_hash(' '.join(keys))}.json"
        _write_lines(index, [{"about": about, "samples": len(keys), "shards": [one.path.name for one in shards]}])
        if text and _said(folder / EMPTY) is None:
            _save(folder / EMPTY, _text_tensors(frozen, [""]), {})
        own = shards[rank::world_size]
        missing = [one for one in own if _said(one.path) is None]
        there = sum(len(one.samples) for one in own) - sum(len(one.samples) for one in missing)
        hidden = not progress or rank > 0 or not missing
        with tqdm(
            total=sum(len(one.samples) for one in own),
            initial=there,
            desc=f"cache {size} px",
            unit="picture",
            disable=hidden,
            dynamic_ncols=True,
        ) as bar:
            for one in missing:
                _save(one.path, *make_shard(source, frozen, one, size=size, text=text, on_sample=bar.update))
        _write_left_out(index, shards)
    return index


def make_shard(
    source: Source, frozen: Frozen, shard: Shard, *, size: int, text: bool, on_sample: Callable[[], Any] = lambda: None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a shard (none, if no sample is usable), and what is said of its samples.

    latents (m, c, h, w), tokens (m, t, width) fp16; face (m, h, w) uint8, share of each cell times 255; shown (m, 112,
    14) uint8, one bit a pixel; yaw, light, face_size (m,), time_ids (m, 6), place (m, 2, 3) fp32; text (k, length,
    width), pooled (k, width) fp16 of k captions, text_row (m,) int32.
    """
    said: dict[str, Any] = {"keys": [], "persons": [], "phrases": [], "left_out": []}
    parts: list[dict[str, Tensor]] = []
    captions: list[str] = []
    at_once = max(1, PIXELS_AT_ONCE // (size * size))
    for samples in _in_batches(_usable(source, shard, size, said, on_sample), at_once):
        parts.append(_encoded(frozen, samples))
        captions += [one.caption for one in samples]
    tensors = {name: torch.cat([one[name] for one in parts]) for name in (parts[0] if parts else ())}
    if text and captions:
        row = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
        tensors |= _text_tensors(frozen, list(row))
        tensors["text_row"] = torch.tensor([row[caption] for caption in captions], dtype=torch.int32)
    return tensors, said


def _usable(
    source: Source, shard: Shard, size: int, said: dict[str, Any], on_sample: Callable[[], Any]
) -> Iterator[Sample]:
    """The usable samples of a shard; what is said of them, and of the others, goes into `said`."""
    for i, key in zip(shard.samples, shard.keys, strict=True):
        sample = source.sample(i, size)
        on_sample()
        if sample is None:
            picture, reason = source.why_not(i)
            said["left_out"].append({"key": key, "picture": picture, "reason": reason})
            continue
        said["keys"].append(key)
        said["persons"].append(sample.person)
        said["phrases"].append([[phrase.text, phrase.optional] for phrase in sample.phrases])
        yield sample


def _in_batches(samples: Iterator[Sample], n: int) -> Iterator[list[Sample]]:
    while batch := list(islice(samples, n)):
        yield batch


def _encoded(frozen: Frozen, samples: list[Sample]) -> dict[str, Tensor]:
    """All tensors of a few samples but those of their text, on the CPU."""
    latents = encode_pictures(frozen, torch.stack([to_pixels(one.image) for one in samples]))
    tokens = encode_faces(frozen, torch.stack([to_pixels(one.head) for one in samples]))
    face = F.avg_pool2d(torch.from_numpy(np.stack([one.face for one in samples])), frozen.factor)
    size = len(samples[0].image)
    numbers = lambda name: torch.tensor([getattr(one, name) for one in samples], dtype=torch.float32)  # noqa: E731
    return {
        "latents": _half(latents, "autoencoder"),
        "tokens": _half(tokens, "face encoder"),
        "face": (face * 255).round().byte(),
        "shown": torch.from_numpy(np.packbits(np.stack([shown(one.head) for one in samples]), axis=-1)),
        "place": torch.from_numpy(np.stack([inverse(alignment(one.landmarks)) for one in samples])).float(),
        "time_ids": torch.tensor([(*one.original, *one.crop, size, size) for one in samples], dtype=torch.float32),
        "yaw": numbers("yaw"),
        "light": numbers("light"),
        "face_size": numbers("face_size"),
    }


def shown(head: np.ndarray) -> np.ndarray:
    """(112, 112) bool: what of a face condition is the head; outside it is black. What is black inside it (a pupil, a
    hat) is head too."""
    return filled(np.asarray(head.any(-1)))


def _text_tensors(frozen: Frozen, captions: list[str]) -> dict[str, Tensor]:
    chunks = [captions[i : i + CAPTIONS_AT_ONCE] for i in range(0, len(captions), CAPTIONS_AT_ONCE)]
    made = [encode_text(frozen, chunk) for chunk in chunks]
    found = {"text": [states for states, _ in made], "pooled": [pooled for _, pooled in made if pooled is not None]}
    return {name: _half(torch.cat(values), "text model") for name, values in found.items() if values}


def _half(values: Tensor, maker: str) -> Tensor:
    """Fp16 on the CPU. UserError when that has NaN or infinities: better now than in step 0."""
    half = values.to("cpu", HALF)
    if not half.isfinite().all():
        raise UserError(f"the {maker} of the base model gives values that are no numbers in fp16: try base.dtype=fp32")
    return half


# Files


def _save(path: Path, tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    with replacing(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, {SAID: json.dumps(said)})


def _write_left_out(index: Path, shards: Sequence[Shard]) -> None:
    """By the process that finishes last."""
    said = [_said(one.path) for one in shards]
    if None not in said:
        _write_lines(index.with_suffix(".left_out.jsonl"), [row for one in said if one for row in one["left_out"]])


def _write_lines(path: Path, objects: Sequence[Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(one) + "\n" for one in objects), encoding="utf-8")


def _said(path: Path) -> dict[str, Any] | None:
    """What a file says of its samples; None where it is missing or damaged (its length is not what its header says)."""
    try:
        with safe_open(path, "pt") as opened:
            return json.loads(opened.metadata()[SAID])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """A full disk, or a folder that may not be written, in one line."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left" in str(error) or "quota exceeded" in str(error):
            raise UserError(
                f"the disk of {folder} is full: free some space, or name a folder elsewhere in data.cache; what is "
                "there stays, and the same command goes on from it"
            ) from error
        if isinstance(error, PermissionError):
            raise UserError(f"data.cache: {folder} may not be written") from error
        raise


# Reading


class Cache:
    """n usable samples of one source, in its order.

    keys (n). persons: (n,) int, indices into person_names. yaw (degrees), light, face_size: (n,) float32. left_out: the
    samples that are not usable: key, picture, reason. about: what decided the contents.
    """

    def __init__(self, index: Path, *, memory: int = MEMORY) -> None:
        """index: what `fill` returned. memory: bytes; a larger cache is read from the disk row by row.

        UserError: a shard is missing or damaged, or no sample is usable."""
        self.about, paths = _read_index(index)
        said = [_said(path) for path in paths]
        if None in said:
            raise UserError(f"the cache lacks {paths[said.index(None)]}, or it is damaged: run the same command again")
        whole = [one for one in said if one is not None]
        self.keys: list[str] = [key for one in whole for key in one["keys"]]
        self.left_out: list[dict[str, str]] = [row for one in whole for row in one["left_out"]]
        if not self.keys:
            reasons = [f"{n} x {why}" for why, n in _reasons(self.left_out).items()]
            raise UserError(f"no picture is usable: {', '.join(reasons) or 'there is none'}")
        self._phrases = [tuple(Phrase(*p) for p in phrases) for one in whole for phrases in one["phrases"]]
        people = [name for one in whole for name in one["persons"]]
        self.person_names = list(dict.fromkeys(people))
        number = {name: i for i, name in enumerate(self.person_names)}
        self.persons = np.array([number[name] for name in people])

        filled = [path for path, one in zip(paths, whole, strict=True) if one["keys"]]
        counts = [len(one["keys"]) for one in whole if one["keys"]]
        self._shard, self._row = np.repeat(np.arange(len(filled)), counts), np.concatenate([*map(np.arange, counts)])
        numbers = [_numbers(path) for path in filled]
        self._numbers = {name: np.concatenate([one[name] for one in numbers]) for name in numbers[0]}
        self.yaw, self.light, self.face_size = (self._numbers[name] for name in ("yaw", "light", "face_size"))
        in_memory = sum(path.stat().st_size for path in filled) <= memory
        self._rows: Rows = RowsInMemory(filled) if in_memory else RowsOnDisk(filled)
        self._empty = _read_empty(index.parent / EMPTY) if self.about["text"] else {}

    @classmethod
    def open(cls, index: Path, *, memory: int = MEMORY) -> Cache:
        return cls(index, memory=memory)

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, index: np.ndarray) -> Cache:
        """The cache of some samples alone, in that order (the validation's people, or all others); nothing is copied.
        Persons keep their numbers."""
        part = copy(self)
        part.keys, part._phrases = [self.keys[i] for i in index], [self._phrases[i] for i in index]
        part.persons, part._shard, part._row = self.persons[index], self._shard[index], self._row[index]
        part._numbers = {name: values[index] for name, values in self._numbers.items()}
        part.yaw, part.light, part.face_size = (part._numbers[name] for name in ("yaw", "light", "face_size"))
        return part

    def phrases(self, index: int) -> tuple[Phrase, ...]:
        """The parts of a sample's caption."""
        return self._phrases[index]

    def gather(self, index: np.ndarray) -> dict[str, Tensor]:
        """Of the pictures (b,), float32 unless said otherwise: latents (b, c, h, w) as the U-Net reads them; face
        (b, h, w), share of each latent cell that is face; head_mask (b, 112, 112) bool, what of the aligned head is
        head; head_to_picture (b, 2, 3) from pixels of the aligned head to those of the picture; time_ids (b, 6)."""
        bits = self._read("shown", index, self._row).numpy()
        return {
            "latents": self._read("latents", index, self._row).float(),
            "face": self._read("face", index, self._row).float() / 255,
            "head_mask": torch.from_numpy(np.unpackbits(bits, axis=-1).astype(bool)),
            "time_ids": torch.from_numpy(self._numbers["time_ids"][index]),
            "head_to_picture": torch.from_numpy(self._numbers["place"][index]),
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
        """usable, persons, persons_of_one_picture (who can only stand for themselves), left_out by reason."""
        of_person = Counter(self.persons.tolist())
        return {
            "usable": len(self.keys),
            "persons": len(of_person),
            "persons_of_one_picture": sum(n == 1 for n in of_person.values()),
            "left_out": _reasons(self.left_out),
        }

    def _read(self, name: str, index: np.ndarray, row: np.ndarray) -> Tensor:
        return self._rows.read(name, self._shard[index], row[index])


def _reasons(left_out: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """How often each, the commonest first; what is said in brackets or after a semicolon is of one picture."""
    return dict(Counter(re.split(r" \(|;", row["reason"])[0] for row in left_out).most_common())


def _read_index(index: Path) -> tuple[dict[str, Any], list[Path]]:
    """What decided the contents, and the shards."""
    try:
        read = json.loads(index.read_text(encoding="utf-8"))
        return read["about"], [index.parent / name for name in read["shards"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{index} is no set of a cache: run the same command again") from error


def _read_empty(path: Path) -> dict[str, Tensor]:
    if _said(path) is None:
        raise UserError(f"the cache lacks {path}, or it is damaged: run the same command again")
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def _numbers(path: Path) -> dict[str, np.ndarray]:
    with safe_open(path, "pt") as opened:
        return {name: opened.get_tensor(name).numpy().copy() for name in NUMBERS if name in opened.keys()}  # noqa: SIM118


class Rows(Protocol):
    """Rows of the large tensors. shard, row: (k,) int, row of that tensor in that shard."""

    def read(self, name: str, shard: np.ndarray, row: np.ndarray) -> Tensor: ...


class RowsInMemory:
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

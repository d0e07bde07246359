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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from facefact.checkpoint import replacing
from facefact.faces.align import alignment, inverse
from facefact.faces.mask import filled
from facefact.metrics.views import to_pixels
from facefact.train.material.cache import EMPTY, NOTES, Notes, read_notes
from facefact.train.material.encode import encode_faces, encode_pictures, encode_text
from facefact.train.material.frozen import Frozen
from facefact.train.material.samples import Sample, Source, picture_key
from facefact.types import UserError

VERSION = 2  # of what a shard holds
SHARD = 256  # samples
PIXELS_AT_ONCE = 16 * 256 * 256  # through the autoencoder
CAPTIONS_AT_ONCE = 32
HALF = torch.float16


# What it is for: the fingerprint


def description(source: Source, frozen: Frozen, *, size: int, text: bool) -> dict[str, Any]:
    """All that decides the contents of a shard besides its keys."""
    parts = ("vae", "encoder", "text") if text else ("vae", "encoder")
    rows = {"rows": frozen.factor} if source.about().get("aspect", 1) != 1 else {}
    return {
        **rows,  # several shapes: latents and faces are rows of cells, each of so many pixels' side
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


# A set and its shards


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
        if text and read_notes(folder / EMPTY) is None:
            _save(folder / EMPTY, _text_tensors(frozen, [""]), {})
        own = shards[rank::world_size]
        with _progress_bar(own, size, shown=progress and rank == 0) as bar:
            for one in own:
                if read_notes(one.path) is None:
                    tensors, notes = make_shard(source, frozen, one, size=size, text=text, on_sample=bar.update)
                    _save(one.path, tensors, vars(notes))
        _write_left_out(index, shards)
    return index


def _progress_bar(shards: Sequence[Shard], size: int, *, shown: bool) -> tqdm:
    """Over the pictures of all shards, from where an earlier run came to; none where nothing is missing."""
    total = sum(len(one.samples) for one in shards)
    there = sum(len(one.samples) for one in shards if read_notes(one.path) is not None)
    return tqdm(
        total=total,
        initial=there,
        desc=f"cache {size} px",
        unit="picture",
        disable=not shown or there == total,
        dynamic_ncols=True,
    )


# What is in a shard


def make_shard(
    source: Source, frozen: Frozen, shard: Shard, *, size: int, text: bool, on_sample: Callable[[], Any] = lambda: None
) -> tuple[dict[str, Tensor], Notes]:
    """The tensors of a shard (none, if no sample is usable), and what it notes of its samples.

    latents (m, c, h, w), tokens (m, t, width) fp16; face (m, h, w) uint8, share of each cell times 255 (of a source
    with several shapes both are rows of the cells that size x size pixels have, filled up with 0); shown (m, 112,
    14) uint8, one bit a pixel; yaw, light, face_size (m,), time_ids (m, 6), place (m, 2, 3) fp32; text (k, length,
    width), pooled (k, width) fp16 of k captions, text_row (m,) int32.
    """
    notes = Notes()
    parts: list[dict[str, Tensor]] = []
    captions: list[str] = []
    at_once = max(1, PIXELS_AT_ONCE // (size * size))
    cells = (size // frozen.factor) ** 2 if source.about().get("aspect", 1) != 1 else None
    for samples in _in_batches(_usable(source, shard, size, notes, on_sample), at_once):
        parts.append(_encoded(frozen, samples, cells))
        captions += [one.caption for one in samples]
    tensors = {name: torch.cat([one[name] for one in parts]) for name in (parts[0] if parts else ())}
    if text and captions:
        row = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
        tensors |= _text_tensors(frozen, list(row))
        tensors["text_row"] = torch.tensor([row[caption] for caption in captions], dtype=torch.int32)
    return tensors, notes


def _usable(source: Source, shard: Shard, size: int, notes: Notes, on_sample: Callable[[], Any]) -> Iterator[Sample]:
    """The usable samples of a shard; what there is to note of them, and of the others, goes into `notes`."""
    for i, key in zip(shard.samples, shard.keys, strict=True):
        sample = source.sample(i, size)
        on_sample()
        if sample is None:
            if key == picture_key(key):  # once for all views
                picture, reason = source.why_not(i)
                notes.left_out.append({"key": key, "picture": picture, "reason": reason})
            continue
        notes.keys.append(key)
        notes.persons.append(sample.person)
        notes.phrases.append([(phrase.text, phrase.optional) for phrase in sample.phrases])
        yield sample


def _in_batches(samples: Iterator[Sample], n: int) -> Iterator[list[Sample]]:
    while batch := list(islice(samples, n)):
        yield batch


def _encoded(frozen: Frozen, samples: list[Sample], cells: int | None) -> dict[str, Tensor]:
    """All tensors of a few samples (m, ...) but those of their text, on the CPU: see `make_shard`. cells: of a row;
    None where all samples are squares."""
    tokens = encode_faces(frozen, torch.stack([to_pixels(one.head) for one in samples]))
    numbers = lambda name: torch.tensor([getattr(one, name) for one in samples], dtype=torch.float32)  # noqa: E731
    time_ids = [(*one.original, *one.crop, *one.image.shape[:2]) for one in samples]
    return {
        **(_planes(frozen, samples) if cells is None else _rows(frozen, samples, cells)),
        "tokens": _half(tokens, "face encoder"),
        "shown": torch.from_numpy(np.packbits(np.stack([head_mask(one.head) for one in samples]), axis=-1)),
        "place": torch.from_numpy(np.stack([inverse(alignment(one.landmarks)) for one in samples])).float(),
        "time_ids": torch.tensor(time_ids, dtype=torch.float32),
        "yaw": numbers("yaw"),
        "light": numbers("light"),
        "face_size": numbers("face_size"),
    }


def _planes(frozen: Frozen, samples: list[Sample]) -> dict[str, Tensor]:
    """latents (m, c, h, w), face (m, h, w) of samples of one shape."""
    latents = encode_pictures(frozen, torch.stack([to_pixels(one.image) for one in samples]))
    face = F.avg_pool2d(torch.from_numpy(np.stack([one.face for one in samples])), frozen.factor)
    return {"latents": _half(latents, "autoencoder"), "face": (face * 255).round().byte()}


def _rows(frozen: Frozen, samples: list[Sample], cells: int) -> dict[str, Tensor]:
    """latents (m, c, cells), face (m, cells) of samples of any shapes."""
    made: list[dict[str, Tensor]] = [{} for _ in samples]
    for shape in {one.face.shape for one in samples}:
        rows = [i for i, one in enumerate(samples) if one.face.shape == shape]
        planes = _planes(frozen, [samples[i] for i in rows])
        for name, values in planes.items():
            row = values.flatten(-2)
            row = F.pad(row, (0, cells - row.shape[-1]))
            for i, value in zip(rows, row, strict=True):
                made[i][name] = value
    return {name: torch.stack([one[name] for one in made]) for name in made[0]}


def head_mask(head: np.ndarray) -> np.ndarray:
    """(112, 112, 3) uint8 face condition -> (112, 112) bool: what of it is the head; outside it is black. What is black
    inside it (a pupil, a hat) is head too."""
    return filled(np.asarray(head.any(-1)))


def _text_tensors(frozen: Frozen, captions: list[str]) -> dict[str, Tensor]:
    """k captions -> text (k, length, width), with SDXL pooled (k, width); fp16."""
    chunks = [captions[i : i + CAPTIONS_AT_ONCE] for i in range(0, len(captions), CAPTIONS_AT_ONCE)]
    made = [encode_text(frozen, chunk) for chunk in chunks]
    found = {"text": [states for states, _ in made], "pooled": [pooled for _, pooled in made if pooled is not None]}
    return {name: _half(torch.cat(values), "text model") for name, values in found.items() if values}


def _half(values: Tensor, maker: str) -> Tensor:
    """The same (m, ...) in fp16 on the CPU. UserError when that has NaN or infinities: better now than in step 0."""
    half = values.to("cpu", HALF)
    if not half.isfinite().all():
        raise UserError(f"the {maker} of the base model gives values that are no numbers in fp16: try base.dtype=fp32")
    return half


# Files


def _save(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Whole or not at all. tensors: as `make_shard` gives them."""
    with replacing(path) as temporary:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, {NOTES: json.dumps(notes)}
        )


def _write_left_out(index: Path, shards: Sequence[Shard]) -> None:
    """By the process that finishes last."""
    notes = [read_notes(one.path) for one in shards]
    if None not in notes:
        _write_lines(index.with_suffix(".left_out.jsonl"), [row for one in notes if one for row in one.left_out])


def _write_lines(path: Path, objects: Sequence[Any]) -> None:
    """One JSON value a line."""
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(one) + "\n" for one in objects), encoding="utf-8")


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

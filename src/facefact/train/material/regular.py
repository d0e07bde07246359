"""Pictures without a person, on which the adapter, given a face, must change nothing.

What shall be there in their place is the base model's own prediction, so that the loss of such a picture is the squared
difference between the adapted and the base model's answer. It is 0 exactly where nothing is changed, for every noise,
where the diffusion loss would also teach these pictures; and its slope is 0 there, where a norm (FAIR with nothing but
outside) would hold closed gates closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facefact.data.decode import decode
from facefact.data.inputs import list_entries, read_bytes
from facefact.data.prepare_config import DecodeSettings
from facefact.data.records import Entry, Unfit
from facefact.faces import get_detector
from facefact.faces.align import TEMPLATE, TEMPLATE_SIZE
from facefact.faces.detector import Detector
from facefact.train.engine.loop import Batches
from facefact.train.material.augmentation import buckets
from facefact.train.material.cache import Cache
from facefact.train.material.conditions import CacheAt, Tokenize
from facefact.train.material.photos import about_detector
from facefact.train.material.samples import Sample, content_key
from facefact.train.material.square import Shape, caption_phrases, cut_at, scale_of, scaled, sides_of
from facefact.types import UserError

VERSION = 1  # of how a picture becomes a sample
DRAW = 7  # names the random stream of which pictures are taken
AWAY = 1e5  # pixels: where the face's features are, so that none is in the picture
NOBODY = -1  # the person of such a picture
DECODE = DecodeSettings(min_side=1)  # (too small is what is too small for the size trained at)


class RegularSource:
    """Captioned pictures of a folder, WebDataset tars or Parquet files, in the layouts of `facefact prepare`.

    Each is cut about its middle to one of the buckets, whatever its own proportions, so that there are some of each. A
    picture with a face in it, or without a caption, is left out.
    """

    def __init__(self, path: Path, *, aspect: float = 1.0, multiple: int = 1, detector: Detector | None = None) -> None:
        """UserError: there is nothing, or nothing that looks like pictures."""
        self.path, self.aspect, self.multiple = path, aspect, multiple
        self.entries = list_entries(path)
        self.detector = detector or get_detector()
        self._keys = [content_key("regular", VERSION, one.caption, *_content(one)) for one in self.entries]
        self._why: dict[int, str] = {}

    def keys(self) -> Sequence[str]:
        """Hashes of the bytes and the caption."""
        return self._keys

    def about(self) -> Mapping[str, object]:
        shapes = {"aspect": self.aspect, "multiple": self.multiple} if self.aspect > 1 else {}
        return {"source": "regular", "version": VERSION, "detector": about_detector(self.detector), **shapes}

    def sample(self, index: int, size: int) -> Sample | None:
        try:
            pixels, caption = self._fit(self.entries[index], size)
        except Unfit as unfit:
            self._why[index] = str(unfit)
            return None
        shapes = buckets(size, self.aspect, self.multiple)
        return regular_sample(pixels, shapes[int(self._keys[index], 16) % len(shapes)], caption)

    def _fit(self, entry: Entry, size: int) -> tuple[np.ndarray, str]:
        """Pixels (h, w, 3) uint8 and caption. Unfit: why it cannot be used."""
        pixels = decode(entry, DECODE).pixels
        if entry.caption is None:
            raise Unfit("regular", "no caption", "which says that nobody is meant")
        if min(pixels.shape[:2]) < size / 2:
            raise Unfit("regular", "too few pixels", f"less than half of {size}")
        if self.detector.detect(pixels):
            raise Unfit("regular", "a face is in it")
        return pixels, entry.caption

    def why_not(self, index: int) -> tuple[str, str]:
        return self.entries[index].name, self._why[index]


def _content(entry: Entry) -> tuple[object, ...]:
    """Its bytes; of one that cannot be read its name, for a key all the same: it will be left out, with the reason."""
    try:
        return (read_bytes(entry, max_bytes=DECODE.max_bytes),)
    except Unfit:
        return "unreadable", entry.name


def regular_sample(pixels: np.ndarray, shape: Shape, caption: str) -> Sample:
    """Of an (h, w, 3) uint8 picture its middle at `shape`: no face, no head, and features far outside."""
    height, width = pixels.shape[:2]
    cut = cut_at(((height - 1) / 2, (width - 1) / 2), sides_of((height, width), shape), (height, width))
    down, across = scale_of(cut, shape)
    return Sample(
        image=scaled(pixels[cut], shape),
        face=np.zeros(shape, np.float32),
        landmarks=(TEMPLATE - AWAY).astype(np.float32),
        head=np.zeros((TEMPLATE_SIZE, TEMPLATE_SIZE, 3), np.uint8),
        phrases=caption_phrases(caption),
        person="",
        yaw=0.0,
        light=0.0,
        face_size=0.0,
        original=(height, width),
        crop=(round(cut[0].start * down), round(cut[1].start * across)),
    )


def check_shapes(regular: Cache, people: Cache) -> None:
    """UserError: there is no regular picture of a shape that batches of people have."""
    have = set(map(tuple, regular.shapes.tolist()))
    if missing := sorted(set(map(tuple, people.shapes.tolist())) - have):
        raise UserError(
            f"data.regular: of its {len(regular)} usable pictures none is cut to {missing[0][1]}x{missing[0][0]}, as "
            "pictures of people are: more pictures are needed, or data.aspect=1"
        )


def with_regular(
    batches: Batches,
    regular_at: CacheAt,
    share: float,
    *,
    batch: int,
    seed: int,
    accumulate: int = 1,
    tokenize: Tokenize | None = None,
    rank: int = 0,
    processes: int = 1,
) -> Batches:
    """The batches of `conditions.batches`, in which a share of the pictures is a regular one with its whole caption,
    while the face that was given stays: nobody's words and a face, and nothing shall change.

    A batch has besides: regular (b,) bool, which they are; their person is NOBODY. Drawn from (seed, number) for all
    processes together.
    """

    def batches_from(number: int) -> Iterator[dict[str, Tensor]]:
        for one in batches(number):
            rng = np.random.default_rng((seed, number, DRAW))
            here, which = rng.random(batch * processes) < share, rng.integers(2**32, size=batch * processes)
            own = slice(rank * batch, (rank + 1) * batch)
            yield mixed(one, regular_at(number // accumulate), here[own], which[own], tokenize)
            number += 1

    return batches_from


def mixed(
    batch: dict[str, Tensor], regular: Cache, here: np.ndarray, which: np.ndarray, tokenize: Tokenize | None
) -> dict[str, Tensor]:
    """The batch with regular pictures at the rows `here` (b,) bool. which: (b,) numbers that choose among those of the
    batch's shape."""
    replaced = {**batch, "regular": torch.from_numpy(here)}
    if not here.any():
        return replaced
    shape = batch["time_ids"][0, 4:].numpy()
    alike = np.flatnonzero((regular.shapes == shape).all(1))
    index = alike[which[here] % len(alike)]
    words = regular.text_of(index) if tokenize is None else {"ids": tokenize(_captions(regular, index))}
    nobody = torch.full((len(index),), NOBODY)
    for name, values in {**regular.gather(index), **words, "person": nobody}.items():
        replaced[name] = batch[name].clone()
        replaced[name][replaced["regular"]] = values.to(batch[name].dtype)
    return replaced


def _captions(cache: Cache, index: np.ndarray) -> list[str]:
    return [", ".join(phrase.text for phrase in cache.phrases(int(i))) for i in index]

"""Several views of each photo: nearer, shifted, mirrored, and its condition as imperfect as a detector would make it.

Everything frozen is computed once, so a picture has a fixed number of views, each cached as a picture of its own; which
of them a step learns from is drawn in `conditions` as among all pictures. The first view is the picture as it is
(held-out people have no other); the rest are drawn from (seed, the picture's key, number of the view) alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Protocol

import cv2
import numpy as np

from facefact.faces.align import alignment, warp
from facefact.train.material.samples import Sample, Source, view_key
from facefact.train.material.square import Cut, Photo, Shape, cut_around, cut_at, sample_of
from facefact.train.settings import Augment

VERSION = 1  # of how views are drawn
LARGEST_ENLARGEMENT = 2.0  # of a cut's pixels: more is a blurred picture
SOFT, PACKED = 0.5, 0.5  # share of the conditions that are blurred, and that go through JPEG
MIRRORED = [1, 0, 2, 4, 3]  # landmarks: which one lies there in a mirror
# Words that name a side, and uses of them that name none.
SIDE = re.compile(r"\b(left|right)(?=(?:most|wards?|hand|ie|y)?\b)", re.IGNORECASE)
NO_SIDE = re.compile(
    r"\b(?:all right|(?:has|have|had|having|just) left|(?:human|civil|equal) rights?"
    r"|(?<!the )(?<!his )(?<!her )(?<!their )"
    r"(?:right (?:now|away|before|behind|above|below|under|next)|left (?:over|behind|alone|out)))\b",
    re.IGNORECASE,
)


class PhotoSource(Source, Protocol):
    """A source of whole photos."""

    def photo(self, index: int, size: int) -> Photo | None:
        """Before anything is cut from it. None, and the reason in `why_not`: not usable at `size`."""
        ...


class Views:
    """A source of photos, each as `settings.views` samples in a row, in the shape of the bucket that is nearest to its
    own. buckets: the shapes at a size; one square alone without."""

    def __init__(self, source: PhotoSource, settings: Augment, seed: int, *, aspect: float, multiple: int) -> None:
        self.source, self.settings, self.seed = source, settings, seed
        self.aspect, self.multiple = aspect, multiple
        self._keys = list(source.keys())
        self._last: tuple[tuple[int, int], Photo | None] | None = None  # the views of a picture are asked for in a row

    def keys(self) -> Sequence[str]:
        return [view_key(key, view) for key in self._keys for view in range(self.settings.views)]

    def about(self) -> Mapping[str, object]:
        kept = {name: value for name, value in asdict(self.settings).items() if name != "views"}
        drawn = {"views": VERSION, "seed": self.seed, **kept} if self.settings.views > 1 else {}
        shapes = {"aspect": self.aspect, "multiple": self.multiple} if self.aspect > 1 else {}
        return {**self.source.about(), **drawn, **shapes}

    def sample(self, index: int, size: int) -> Sample | None:
        picture, view = divmod(index, self.settings.views)
        photo = self._photo(picture, size)
        if photo is None:
            return None
        shape = nearest(buckets(size, self.aspect, self.multiple), photo.shape)
        if view == 0:
            return sample_of(photo, cut_around(photo.box, photo.shape, shape), shape)
        rng = np.random.default_rng((self.seed, int(self._keys[picture], 16), view))
        return view_of(photo, shape, self.settings, rng)

    def _photo(self, picture: int, size: int) -> Photo | None:
        if self._last is None or self._last[0] != (picture, size):
            self._last = (picture, size), self.source.photo(picture, size)
        return self._last[1]

    def why_not(self, index: int) -> tuple[str, str]:
        return self.source.why_not(index // self.settings.views)


def view_of(photo: Photo, shape: Shape, settings: Augment, rng: np.random.Generator) -> Sample:
    """A view of a photo at `shape`. Its caption, landmarks, face and what SDXL reads of the cut are the view's own."""
    if rng.random() < settings.flip:
        photo = mirrored(photo)
    photo = replace(photo, condition=jittered_condition(photo, settings, rng))
    return sample_of(photo, moved_cut(photo, shape, settings, rng), shape)


# Where it is cut


def moved_cut(photo: Photo, shape: Shape, settings: Augment, rng: np.random.Generator) -> Cut:
    """As `cut_around`, up to `zoom` times smaller (evenly by ratio) and its middle up to `shift` of its sides away; the
    face's box stays inside, and no pixel grows to more than LARGEST_ENLARGEMENT."""
    whole = cut_around(photo.box, photo.shape, shape)
    sides = np.array([one.stop - one.start for one in whole])
    left, top, right, bottom = photo.box
    face = np.array([bottom - top, right - left])
    nearest_cut = np.minimum(sides, np.maximum(face + 2, np.array(shape) / LARGEST_ENLARGEMENT))
    most = max(1.0, min(settings.zoom, float((sides / nearest_cut).min())))
    sides = np.minimum(sides, np.round(sides / np.exp(rng.uniform(0, np.log(most)))))
    middle = np.array([(top + bottom) / 2, (left + right) / 2])
    room = np.maximum(0, (sides - face) / 2 - 1)
    away = np.clip(rng.uniform(-1, 1, 2) * settings.shift * sides, -room, room)
    y, x = middle + away
    return cut_at((float(y), float(x)), (int(sides[0]), int(sides[1])), photo.shape)


def buckets(size: int, aspect: float, multiple: int) -> list[Shape]:
    """Shapes with sides that are multiples of `multiple`, of at most size x size pixels and as many as fit, whose
    longer side is at most `aspect` times the shorter one; the narrowest first. The square alone for aspect 1."""
    if aspect == 1:
        return [(size, size)]
    found = set()
    for short in range(multiple, size + 1, multiple):
        long = size * size // short // multiple * multiple
        if long <= aspect * short:
            found |= {(short, long), (long, short)}
    return sorted(found, key=lambda shape: shape[1] / shape[0])


def nearest(shapes: Sequence[Shape], picture: Shape) -> Shape:
    """The shape whose proportions are most like a picture's."""
    return min(shapes, key=lambda one: abs(np.log(one[1] / one[0]) - np.log(picture[1] / picture[0])))


# In a mirror


def mirrored(photo: Photo) -> Photo:
    """The photo as a mirror shows it: what was at its left is at its right, in the caption too."""
    width = photo.shape[1]
    flipped = lambda plane: np.ascontiguousarray(plane[:, ::-1])  # noqa: E731
    left, top, right, bottom = photo.box
    landmarks = (photo.landmarks * [-1, 1] + [width - 1, 0])[MIRRORED].astype(np.float32)
    return replace(
        photo,
        pixels=flipped(photo.pixels),
        face=flipped(photo.face),
        head=flipped(photo.head),
        box=(width - 1 - right, top, width - 1 - left, bottom),
        landmarks=landmarks,
        caption=photo.caption and sides_exchanged(photo.caption),
        yaw=-photo.yaw,
    )


def sides_exchanged(caption: str) -> str:
    """The caption of the picture in a mirror: left and right change places where they name a side."""
    parts, start = [], 0
    for kept in NO_SIDE.finditer(caption):
        parts += [SIDE.sub(_other_side, caption[start : kept.start()]), kept.group()]
        start = kept.end()
    return "".join([*parts, SIDE.sub(_other_side, caption[start:])])


def _other_side(found: re.Match[str]) -> str:
    word = found.group()
    other = "right" if word.lower() == "left" else "left"
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other


# The condition


def jittered_condition(photo: Photo, settings: Augment, rng: np.random.Generator) -> np.ndarray:
    """(112, 112, 3) uint8: the head aligned by landmarks that are a little off, some photos' more than others', in half
    of the photos soft, and in half of them after a JPEG."""
    eyes = float(np.linalg.norm(photo.landmarks[1] - photo.landmarks[0]))
    off = rng.normal(0, settings.landmarks * eyes, photo.landmarks.shape) * rng.random()
    matrix = alignment(photo.landmarks + off)
    crop, head = warp(photo.pixels, matrix), warp(photo.head.astype(np.float32), matrix)
    soft, packed = rng.random(2) < (SOFT, PACKED)
    sigma, quality = rng.uniform(0, settings.blur), int(rng.integers(settings.jpeg, 101))
    if soft and sigma > 0:
        crop = cv2.GaussianBlur(crop, (0, 0), sigma)
    if packed and settings.jpeg < 100:
        crop = packed_as_jpeg(crop, quality)
    return np.round(crop * head[..., None]).astype(np.uint8)


def packed_as_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """(h, w, 3) uint8 RGB after a JPEG of a quality in 1..100."""
    _, packed = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))[..., ::-1])

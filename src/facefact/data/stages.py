"""One worker's part of the preparation: each picture through the row of stages; what is not fit says where and why."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from PIL import Image

from facefact.data import cover, find
from facefact.data.attributes import Attributes, head_of, open_attributes
from facefact.data.caption import Captioner, open_captioner, words
from facefact.data.clock import Clock
from facefact.data.cover import Cover, open_covers
from facefact.data.decode import decode
from facefact.data.prepare_config import PrepareConfig
from facefact.data.recognisers import Recogniser, open_recogniser, unit
from facefact.data.records import Candidate, CheckedSample, Entry, Masks, Rejection, Row, Unfit
from facefact.faces import Detector, Quality, get_detector


@dataclass(frozen=True)
class Tools:
    """The models of one worker, and the clock of its work."""

    detector: Detector
    covers: Sequence[Cover]
    recogniser: Recogniser | None
    captioner: Captioner | None
    attributes: Attributes | None = None
    clock: Clock = field(default_factory=Clock)

    def about(self) -> list[dict[str, str]]:
        """Stage, name and licence of each model: for the dataset card, and part of a finished chunk's key."""
        found = [getattr(self.detector, name, None) for name in ("avatar", "photo")]  # two, where "auto" has both
        detectors = [one for one in found if one is not None] or [self.detector]
        named: list[tuple[str, Any]] = [("detect", one) for one in detectors]
        named += [("cover", one) for one in self.covers]
        named += [("person", self.recogniser), ("caption", self.captioner), ("caption", self.attributes)]
        return [{"stage": stage, "name": one.name, "licence": one.licence} for stage, one in named if one is not None]


def open_tools(settings: PrepareConfig) -> Tools:
    """UserError: a model that is named cannot be had."""
    detector = get_detector(settings.face.detector, model=settings.face.model)
    recogniser = open_recogniser(settings.people, detector_name=detector.name)
    clock = Clock()
    covers = open_covers(settings.cover, clock=clock)
    read = open_captioner(settings.caption), open_attributes(settings.caption)
    return Tools(detector, covers, recogniser, *read, clock)


@dataclass(frozen=True)
class Inspected:
    """A sample that passed every stage but the caption. view: what the recogniser will compare."""

    candidate: Candidate
    quality: Quality
    masks: Masks
    covered: float
    view: np.ndarray | None


@dataclass(frozen=True)
class Chunk:
    """What became of some entries: each is in `samples` (once for each face taken) or in `rejected`, both in the
    entries' order, but that faces which the recogniser refuses are the last of the rejected."""

    samples: list[CheckedSample]
    rejected: list[Rejection]


def run_stages(entries: Iterable[Entry], tools: Tools, settings: PrepareConfig) -> Chunk:
    """All stages on some entries; never raises because of a picture. Captions are made `caption.batch` at a time, and
    no more pictures than that are in memory; who they are is asked of all together, from their small views."""
    chunk, views = Chunk([], []), []
    seen = (one for entry in entries for one in fit_faces(entry, tools, settings, chunk.rejected))
    while batch := list(islice(seen, settings.caption.batch if tools.captioner or tools.attributes else 1)):
        with tools.clock.part("caption", len(batch)):
            described = captions(batch, tools, settings)
        for one, (caption, by) in zip(batch, described, strict=True):
            with tools.clock.part("encode: JPEG and masks"):
                chunk.samples.append(packed(one, caption, by, settings))
            views.append(one.view)
    return recognised(chunk, [view for view in views if view is not None], tools)


def recognised(chunk: Chunk, views: Sequence[np.ndarray], tools: Tools) -> Chunk:
    """With the embedding of each sample. views: one for each; none without a recogniser."""
    if tools.recogniser is None or not views:
        return chunk
    with tools.clock.part(f"person: {tools.recogniser.name}", len(views)):
        embeddings = tools.recogniser.embed(views)
    found = Chunk([], [*chunk.rejected])
    for sample, embedding in zip(chunk.samples, embeddings, strict=True):
        try:
            found.samples.append(replace(sample, embedding=unit(embedding)))
        except Unfit as unfit:
            row = sample.row
            why = unfit.stage, unfit.reason, unfit.detail
            found.rejected.append(Rejection(row.name, *why, sample.person, row.sha256, row.box, row.landmarks))
    return found


def fit_faces(entry: Entry, tools: Tools, settings: PrepareConfig, rejected: list[Rejection]) -> Iterator[Inspected]:
    """The faces of one entry that are fit; the others are added to `rejected`."""
    try:
        with tools.clock.part("decode"):
            picture = decode(entry, settings.decode)
    except Unfit as unfit:
        rejected.append(rejection(entry, unfit))
        return
    try:
        with tools.clock.part("detect: faces"):
            candidates = find.find(picture, tools.detector, settings.face)
    except Unfit as unfit:
        rejected.append(rejection(entry, unfit, picture.sha256))
        return
    for candidate in candidates:
        try:
            yield inspect(candidate, tools, settings)
        except Unfit as unfit:
            unfit.face = unfit.face or candidate.face
            rejected.append(rejection(entry, unfit, picture.sha256))


def inspect(candidate: Candidate, tools: Tools, settings: PrepareConfig) -> Inspected:
    """Size, pose, quality, masks, what covers the face, and its view for the recogniser. Unfit: the first that
    fails."""
    pixels, face, known, clock = candidate.picture.pixels, candidate.face, tools.recogniser, tools.clock
    with clock.part("size, pose, quality"):
        find.check_size(candidate, settings.face)
        find.check_pose(candidate, settings.face)
        quality = find.measure(candidate, settings.quality)
    with clock.part("masks and crop"):
        masks = cover.masks(candidate, tools.detector)
    covered = cover.covered(candidate, masks, tools.covers, settings.cover, clock=clock)
    with clock.part("person: alignment", int(known is not None)):
        view = known.view(pixels, face, crop=masks.crop) if known else None
    return Inspected(candidate, quality, masks, covered, view)


def rejection(entry: Entry, unfit: Unfit, sha256: str | None = None) -> Rejection:
    face = unfit.face
    box = None if face is None else tuple(float(value) for value in face.box)
    points = None if face is None else tuple(float(value) for value in face.landmarks.ravel())
    return Rejection(entry.name, unfit.stage, unfit.reason, unfit.detail, entry.person, sha256, box, points)


def captions(batch: Sequence[Inspected], tools: Tools, settings: PrepareConfig) -> list[tuple[str, str]]:
    """(caption, by whom) of each: the input's own word first, then the model's, else what was measured."""
    made = [
        (own, "input")
        if settings.caption.keep and (own := one.candidate.picture.entry.caption)
        else (words(one.candidate, one.quality, one.masks), "words")
        for one in batch
    ]
    asked, captioner = [i for i, (_, by) in enumerate(made) if by == "words"], tools.captioner
    if tools.attributes is not None and asked:
        heads = [head_of(batch[i].candidate.picture.pixels, batch[i].masks.head) for i in asked]
        for i, phrases in zip(asked, tools.attributes.describe(heads), strict=True):
            subject, *others = made[i][0].split(", ")
            made[i] = ", ".join([subject, *phrases, *others]), "words"
    if captioner is not None:
        written = captioner.describe([batch[i].candidate.picture.pixels for i in asked]) if asked else []
        for i, caption in zip(asked, written, strict=True):
            made[i] = (caption, captioner.name) if caption else made[i]
    return made


def packed(one: Inspected, caption: str, by: str, settings: PrepareConfig) -> CheckedSample:
    """The sample as it will lie in a shard."""
    candidate, masks, quality = one.candidate, one.masks, one.quality
    picture, face = candidate.picture, candidate.face
    entry = picture.entry
    height, width = picture.pixels.shape[:2]
    row = Row(
        sample=sample_name(candidate),
        name=entry.name,
        sha256=picture.sha256,
        width=width,
        height=height,
        original_width=picture.original[1],
        original_height=picture.original[0],
        faces=candidate.found,
        box=tuple(float(value) for value in face.box),
        landmarks=tuple(float(value) for value in face.landmarks.ravel()),
        score=float(face.score),
        detector=face.backend,
        yaw=float(face.pose.yaw),
        pitch=float(face.pose.pitch),
        roll=float(face.pose.roll),
        face_size=quality.size,
        face_share=float(masks.face.mean()),
        sharpness=quality.sharpness,
        brightness=quality.brightness / 255,
        clipped=quality.clipped,
        quality=quality.score,
        covered=one.covered,
        caption=caption,
        caption_by=by,
        source=entry.source,
        licence=entry.licence or settings.licence,
    )
    files = {
        "jpg": encoded(picture.pixels, "JPEG", quality=settings.write.quality, subsampling=0),
        "face.png": encoded(masks.face, "PNG"),
        "head.png": encoded(masks.head, "PNG"),
        "crop.png": encoded(masks.crop, "PNG", compress_level=1),  # a third of the time for 7 % more bytes
    }
    alone = candidate.found == 1 or settings.face.several != "each"  # of several, the folder's name is nobody's
    return CheckedSample(row, files, entry.person if alone else None, picture.perceptual_hash)


def sample_name(candidate: Candidate) -> str:
    """Of the input's name, the file's content and the face's number: the same on every machine, and two files of the
    same bytes are two samples until one is left out as a duplicate."""
    picture = candidate.picture
    text = "\n".join((picture.sha256, picture.entry.name, str(candidate.number)))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def encoded(pixels: np.ndarray, kind: str, **how: Any) -> bytes:
    """(h, w, 3) uint8 or (h, w) bool as a file's bytes, without metadata: no camera, no place, no time."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **how)
    return out.getvalue()


def merged(parts: Iterable[Chunk]) -> Chunk:
    whole = Chunk([], [])
    for part in parts:
        whole.samples.extend(part.samples)
        whole.rejected.extend(part.rejected)
    return whole


def crashed(entry: Entry) -> Chunk:
    """An entry on which a worker process died (a decoder's or a model's native code)."""
    unfit = Unfit("decode", "crash", "a worker process died while it looked at this picture")
    return Chunk([], [rejection(entry, unfit)])

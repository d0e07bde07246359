"""Where training samples come from: the portrait world, a folder of pictures per person, or a prepared dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facefact.checkpoint import content_hash
from facefact.data.dataset import INDEX, PreparedDataset
from facefact.data.folders import METADATA, read_metadata
from facefact.faces import checked_face, face_crop_from, get_detector, open_picture
from facefact.faces.detector import Detector
from facefact.faces.mask import face_mask
from facefact.faces.picture import SUFFIXES
from facefact.train.material.renders import aligned_head
from facefact.train.material.samples import Phrase, Sample, Source
from facefact.train.settings import Data
from facefact.types import UserError
from facefact.world import OPTIONAL, look, person, phrases, render, training_seed
from facefact.world.version import world_name

SUBJECT = "portrait of a person"  # the caption of a picture that brings none


def open_source(data: Data) -> Source:
    """The source that the settings name. UserError, before anything is computed: there is none, it is empty, or holds
    too few people to keep some for validation."""
    source: Source
    if data.source == "world":
        if data.people < 1 or data.looks < 1:
            raise UserError(f"settings data.people={data.people}, data.looks={data.looks}: both must be at least 1")
        people, source = data.people, WorldSource(data.people, data.looks, data.seed)
    else:
        source = folder = _open_folder(Path(data.source).expanduser())
        people = len(folder.people)
    if people < 2:
        raise UserError(f"{data.source} holds pictures of {people} people: training needs several, a folder for each")
    if people <= held_out(source, data):
        raise UserError(
            f"{data.source} holds {people} people, of whom data.validation_people={data.validation_people} are kept "
            "out of training: none is left; lower it"
        )
    return source


def held_out(source: Source, data: Data) -> int:
    """How many people are kept out of training; the last ones of the source. A prepared dataset says it itself."""
    return source.held_out if isinstance(source, PreparedSource) else data.validation_people


def _open_folder(path: Path) -> FolderSource | PreparedSource:
    if not path.is_dir():
        raise UserError(f"data.source: there is no folder {path}; one with a folder per person is expected, or world")
    if (path / INDEX).is_file():
        return PreparedSource(path)
    return FolderSource(path)


# The portrait world

PEOPLE_PER_BLOCK = 32
JITTER = 5  # names the random stream of the condition's imperfections
HEAD_SIZE = 128  # pixels of the render that the condition is cut from, whatever the size of the training picture


class WorldSource:
    """Rendered avatars: `looks` pictures of each of `people` persons, in a row. Never a person of the evaluation.

    More people begin with the same people: a larger set has the samples of a smaller one.
    """

    def __init__(self, people: int, looks: int, seed: int) -> None:
        self.looks = looks
        self.seeds: list[tuple[int, int]] = []  # (person, look) of every sample
        for block in range(-(-people // PEOPLE_PER_BLOCK)):
            rng = np.random.default_rng((seed, block))
            for _ in range(PEOPLE_PER_BLOCK):
                who = training_seed(rng)
                self.seeds += [(who, training_seed(rng)) for _ in range(looks)]
        del self.seeds[people * looks :]

    def keys(self) -> Sequence[str]:
        return [_digest("world", world_name(), who, shown) for who, shown in self.seeds]

    def about(self) -> Mapping[str, object]:
        return {"source": "world", "world": world_name()}

    def sample(self, index: int, size: int) -> Sample:
        """The render, and its condition with the imperfections of a detector; both functions of the seeds alone."""
        who, shown = self.seeds[index]
        rng = np.random.default_rng((who, shown, JITTER))
        someone, one = person(who), look(shown)
        drawn = render(someone, one, size=size)
        cut_from = drawn if size == HEAD_SIZE else render(someone, one, size=HEAD_SIZE)
        return Sample(
            image=drawn.image,
            face=drawn.face.astype(np.float32),
            landmarks=drawn.landmarks,
            head=aligned_head(cut_from, rng),
            phrases=tuple(Phrase(text, optional=name in OPTIONAL) for name, text in phrases(one).items()),
            person=str(who),
            yaw=one.yaw,
            light=brightness(drawn.image, drawn.face),
            face_size=float(drawn.face.mean()),
            original=(size, size),
        )

    def why_not(self, index: int) -> tuple[str, str]:
        raise ValueError("every sample of the world is usable")


def brightness(image: np.ndarray, face: np.ndarray) -> float:
    """Mean luminance in [0, 1] of an (h, w, 3) uint8 picture inside a mask; 0 where the mask is empty."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return float(np.average(grey, weights=face) / 255) if face.any() else 0.0


def _digest(*parts: object) -> str:
    """32 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:32]


# Pictures in folders

VERSION = 1  # of how a picture becomes a sample; a change makes other samples of the same files
READERS = 8  # files are read in parallel for their hashes


@dataclass(frozen=True)
class Picture:
    """One file. person: None where neither a folder nor the metadata name one. caption: None where none is given."""

    path: Path
    person: str | None
    caption: str | None


class FolderSource:
    """Photos of people: a folder per person (as LFW), or any folders with `metadata.jsonl` (file_name, text or caption,
    optional person; the "imagefolder" convention). A caption may also lie beside its picture (`me.jpg`, `me.txt`).

    Of each picture the largest face counts. UserError: no pictures, or metadata that do not fit them.
    """

    def __init__(self, path: Path, *, detector: Detector | None = None) -> None:
        self.path = path
        self.pictures = find_pictures(path)
        self.detector = detector or get_detector()
        self._why: dict[int, str] = {}

    @property
    def people(self) -> set[str]:
        return {one.person for one in self.pictures if one.person is not None}

    @cached_property
    def _keys(self) -> list[str]:
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(_key, self.pictures))

    def keys(self) -> Sequence[str]:
        """Hashes of the files' bytes with person and caption: moved or renamed, a picture keeps its key."""
        return self._keys

    def about(self) -> Mapping[str, object]:
        return {"source": "folder", "version": VERSION, "detector": _about_detector(self.detector)}

    def sample(self, index: int, size: int) -> Sample | None:
        picture = self.pictures[index]
        try:
            if picture.person is None:
                raise UserError("whose picture it is nobody says: put it into a folder of the person's name")
            return photo_sample(picture, size, self.detector)
        except UserError as error:
            self._why[index] = str(error).removeprefix(f"{picture.path}: ")
            return None

    def why_not(self, index: int) -> tuple[str, str]:
        return self.pictures[index].path.relative_to(self.path).as_posix(), self._why[index]


def find_pictures(path: Path) -> list[Picture]:
    """The pictures below a folder, in the order of their names; hidden files and folders are not looked at."""
    files = [one for one in sorted(path.rglob("*")) if one.suffix[1:].lower() in SUFFIXES and _visible(one, path)]
    if not files:
        raise UserError(f"{path} holds no pictures ({', '.join(SUFFIXES[:4])}, ...): one folder per person is expected")
    said = read_metadata(path)
    known = {one.relative_to(path).as_posix(): one for one in files}
    for name, row in said.items():
        if name not in known:
            raise UserError(f"{path / METADATA} line {row['line']} names {name}, and there is no such picture")
    return [_described(one, name, said.get(name, {})) for name, one in known.items()]


def _visible(file: Path, root: Path) -> bool:
    return not any(part.startswith(".") for part in file.relative_to(root).parts)


def _described(file: Path, name: str, said: Mapping[str, Any]) -> Picture:
    """What is known of a file: the metadata's word before its folder's name and the text beside it."""
    folder = name.split("/")[0] if "/" in name else None
    caption = said.get("text", said.get("caption"))
    beside = file.with_suffix(".txt")
    if caption is None and beside.is_file():
        caption = beside.read_text(encoding="utf-8", errors="replace")
    who = said.get("person", folder)
    return Picture(file, None if who is None else str(who), " ".join(str(caption or "").split()) or None)


def _key(picture: Picture) -> str:
    try:
        content = picture.path.read_bytes()
    except OSError as error:  # a key all the same: it will be left out, with this reason
        content = f"unreadable {picture.path} {error.errno}".encode()
    return _digest("folder", VERSION, picture.person, picture.caption, content)


def _about_detector(detector: Detector) -> Any:
    """Its name with the hash of its weights, where they are to be had; of a pair, both."""
    parts = [getattr(detector, name) for name in ("avatar", "photo") if getattr(detector, name, None) is not None]
    if parts:
        return [_about_detector(one) for one in parts]
    net = getattr(detector, "net", None)
    return detector.name if net is None else f"{detector.name} {content_hash(net.state_dict())[:16]}"


def photo_sample(picture: Picture, size: int, detector: Detector) -> Sample:
    """UserError: not a picture, no usable face, or less than half of `size` large."""
    pixels = open_picture(picture.path)
    height, width = pixels.shape[:2]
    if min(height, width) < size / 2:
        raise UserError(f"too few pixels ({width}x{height}): less than half of {size}")
    face = checked_face(detector.detect(pixels))
    head = face_crop_from(pixels, landmarks=face.landmarks, head=detector.head_mask(pixels, face), face=face)
    sample = squared(
        pixels,
        face_mask(pixels.shape, face),
        size,
        box=face.box,
        landmarks=face.landmarks,
        head=head.pixels,
        caption=picture.caption,
        person=str(picture.person),
        yaw=face.pose.yaw,
    )
    if not sample.face.any():
        raise UserError("the face lies outside the largest square of the picture")
    return sample


def squared(
    pixels: np.ndarray,
    mask: np.ndarray,
    size: int,
    *,
    box: tuple[float, ...],
    landmarks: np.ndarray,
    head: np.ndarray,
    caption: str | None,
    person: str,
    yaw: float,
) -> Sample:
    """Of a whole picture (h, w, 3) with its face's mask (h, w) bool, box and landmarks the largest square about the
    face, scaled. The rest as in `Sample`."""
    height, width = pixels.shape[:2]
    cut, scale = square_around(box, height, width), size / min(height, width)
    image, face = scaled(pixels[cut], size), scaled(mask.astype(np.float32)[cut], size)
    return Sample(
        image=image,
        face=face,
        landmarks=moved(landmarks, cut, scale),
        head=head,
        phrases=caption_phrases(caption or SUBJECT),
        person=person,
        yaw=yaw,
        light=brightness(image, face),
        face_size=float(face.mean()),
        original=(height, width),
        crop=(round(cut[0].start * scale), round(cut[1].start * scale)),
    )


def caption_phrases(caption: str) -> tuple[Phrase, ...]:
    """The parts between commas; the first one, who it is, always stays."""
    return tuple(Phrase(part, optional=i > 0) for i, part in enumerate(caption.split(", ")))


def square_around(box: tuple[float, ...], height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the largest square in a picture, moved as near to the face's middle as the edges allow."""
    side = min(height, width)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    top = round(min(max(y - side / 2, 0), height - side))
    left = round(min(max(x - side / 2, 0), width - side))
    return slice(top, top + side), slice(left, left + side)


def moved(points: np.ndarray, cut: tuple[slice, slice], scale: float) -> np.ndarray:
    """(n, 2) float32 points of a picture, in pixels of what was cut from it and scaled; centres at integers."""
    corner = np.array([cut[1].start, cut[0].start])
    return ((points - corner + 0.5) * scale - 0.5).astype(np.float32)


def scaled(square: np.ndarray, size: int) -> np.ndarray:
    """(n, n[, 3]) -> (size, size[, 3]): by area when it shrinks, bilinear when it grows."""
    how = cv2.INTER_AREA if size < len(square) else cv2.INTER_LINEAR
    return cv2.resize(square, (size, size), interpolation=how)


# A prepared dataset


class PreparedSource:
    """What `facefact prepare` has made, with its masks and crops: no face is looked for again. Training people first,
    then those of its validation (`held_out`); pictures that look unlike the rest of their person are left out."""

    def __init__(self, path: Path) -> None:
        """UserError: no finished dataset."""
        self.dataset = PreparedDataset.open(path)
        rows = [row for row in self.dataset.rows if not row.outlier]
        self.rows = sorted(rows, key=lambda row: row.split != "train")  # (stable)
        self.people = {row.person for row in rows}
        self.held_out = len({row.person for row in rows if row.split != "train"})
        self._why: dict[int, str] = {}

    def keys(self) -> Sequence[str]:
        return [_digest("prepared", VERSION, row.sample, row.person, row.caption) for row in self.rows]

    def about(self) -> Mapping[str, object]:
        return {"source": "prepared", "version": VERSION, "made": self.dataset.fingerprint}

    def sample(self, index: int, size: int) -> Sample | None:
        row = self.rows[index]
        if min(row.width, row.height) < size / 2:
            self._why[index] = f"too few pixels ({row.width}x{row.height}): less than half of {size}"
            return None
        one = self.dataset.read(row)
        made = squared(
            one.image,
            one.face,
            size,
            box=row.box,
            landmarks=np.array(row.landmarks, np.float32).reshape(5, 2),
            head=one.crop,
            caption=row.caption,
            person=row.person,
            yaw=row.yaw,
        )
        if not made.face.any():
            self._why[index] = "the face lies outside the largest square of the picture"
            return None
        return made

    def why_not(self, index: int) -> tuple[str, str]:
        return self.rows[index].name, self._why[index]

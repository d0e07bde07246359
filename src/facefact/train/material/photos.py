"""Photos of people in folders as a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from facefact.checkpoint import content_hash
from facefact.data.folders import METADATA, caption_beside, read_metadata
from facefact.faces import checked_face, face_crop_from, get_detector, open_picture
from facefact.faces.detector import Detector
from facefact.faces.files import SUFFIXES, pictures_below
from facefact.faces.mask import face_mask
from facefact.faces.turned import upright
from facefact.train.material.samples import Sample, content_key
from facefact.train.material.square import VERSION, Photo, cut_around, sample_of
from facefact.types import UserError

READERS = 8  # files are read in parallel for their hashes


@dataclass(frozen=True)
class Picture:
    """One file. person: None where neither a folder nor the metadata name one. caption: None where none is given."""

    path: Path
    person: str | None
    caption: str | None


class FolderSource:
    """Photos of people: a folder per person (as LFW), or any folders with `metadata.jsonl` (file_name, text or caption,
    optional person; the "imagefolder" convention). A caption may also lie beside its picture (`me.jpg`, `me.txt`; also
    `.caption`, `.tags`).

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
        return {"source": "folder", "version": VERSION, "detector": about_detector(self.detector)}

    def sample(self, index: int, size: int) -> Sample | None:
        photo = self.photo(index, size)
        return None if photo is None else sample_of(photo, cut_around(photo.box, photo.shape), (size, size))

    def photo(self, index: int, size: int) -> Photo | None:
        picture = self.pictures[index]
        try:
            if picture.person is None:
                raise UserError("whose picture it is nobody says: put it into a folder of the person's name")
            return found_photo(picture, size, self.detector)
        except UserError as error:
            self._why[index] = str(error).removeprefix(f"{picture.path}: ")
            return None

    def why_not(self, index: int) -> tuple[str, str]:
        return self.pictures[index].path.relative_to(self.path).as_posix(), self._why[index]


def find_pictures(path: Path) -> list[Picture]:
    """The pictures below a folder, in the order of their names; hidden files and folders are not looked at."""
    files = pictures_below(path)
    if not files:
        raise UserError(f"{path} holds no pictures ({', '.join(SUFFIXES[:4])}, ...): one folder per person is expected")
    said = read_metadata(path)
    known = {one.relative_to(path).as_posix(): one for one in files}
    for name, row in said.items():
        if name not in known:
            raise UserError(f"{path / METADATA} line {row['line']} names {name}, and there is no such picture")
    return [_described(one, name, said.get(name, {})) for name, one in known.items()]


def _described(file: Path, name: str, said: Mapping[str, Any]) -> Picture:
    """What is known of a file: the metadata's word before its folder's name and the text beside it."""
    folder = name.split("/")[0] if "/" in name else None
    caption = said.get("text", said.get("caption"))
    if caption is None:
        caption = caption_beside(file)
    who = said.get("person", folder)
    return Picture(file, None if who is None else str(who), " ".join(str(caption or "").split()) or None)


def _key(picture: Picture) -> str:
    try:
        content = picture.path.read_bytes()
    except OSError as error:  # a key all the same: it will be left out, with this reason
        content = f"unreadable {picture.path} {error.errno}".encode()
    return content_key("folder", VERSION, picture.person, picture.caption, content)


def about_detector(detector: Detector) -> Any:
    """Its name with the hash of its weights, where they are to be had; of a pair, both."""
    parts = [getattr(detector, name) for name in ("avatar", "photo") if getattr(detector, name, None) is not None]
    if parts:
        return [about_detector(one) for one in parts]
    net = getattr(detector, "net", None)
    return detector.name if net is None else f"{detector.name} {content_hash(net.state_dict())[:16]}"


def found_photo(picture: Picture, size: int, detector: Detector) -> Photo:
    """UserError: not a picture, no usable face, less than half of `size` large, or the face lies outside of what is cut
    from it."""
    pixels = open_picture(picture.path)
    height, width = pixels.shape[:2]
    if min(height, width) < size / 2:
        raise UserError(f"too few pixels ({width}x{height}): less than half of {size}")
    pixels, face = upright(pixels, checked_face(detector.detect(pixels)))
    head = face_crop_from(pixels, landmarks=face.landmarks, head=detector.head_mask(pixels, face), face=face)
    mask = face_mask(pixels.shape, face)
    if not mask[cut_around(face.box, (height, width))].any():
        raise UserError("the face lies outside the largest square of the picture")
    return Photo(
        pixels=pixels,
        face=mask,
        head=head.head,
        box=face.box,
        landmarks=face.landmarks,
        condition=head.pixels,
        caption=picture.caption,
        person=str(picture.person),
        yaw=face.pose.yaw,
    )

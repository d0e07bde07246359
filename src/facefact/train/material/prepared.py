"""A dataset that `facefact prepare` has made as a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from facefact.data.dataset import PreparedDataset
from facefact.train.material.samples import Sample, content_key
from facefact.train.material.square import VERSION, Photo, cut_around, sample_of


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
        return [content_key("prepared", VERSION, row.sample, row.person, row.caption) for row in self.rows]

    def about(self) -> Mapping[str, object]:
        return {"source": "prepared", "version": VERSION, "made": self.dataset.fingerprint}

    def sample(self, index: int, size: int) -> Sample | None:
        photo = self.photo(index, size)
        return None if photo is None else sample_of(photo, cut_around(photo.box, photo.shape), (size, size))

    def photo(self, index: int, size: int) -> Photo | None:
        row = self.rows[index]
        if min(row.width, row.height) < size / 2:
            self._why[index] = f"too few pixels ({row.width}x{row.height}): less than half of {size}"
            return None
        one = self.dataset.read(row)
        left, top, right, bottom = row.box
        photo = Photo(
            pixels=one.image,
            face=one.face,
            head=one.head,
            box=(left, top, right, bottom),
            landmarks=np.array(row.landmarks, np.float32).reshape(5, 2),
            condition=one.crop,
            caption=row.caption,
            person=row.person,
            yaw=row.yaw,
        )
        if not photo.face[cut_around(photo.box, photo.shape)].any():
            self._why[index] = "the face lies outside the largest square of the picture"
            return None
        return photo

    def why_not(self, index: int) -> tuple[str, str]:
        return self.rows[index].name, self._why[index]

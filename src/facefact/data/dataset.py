"""Reading a prepared dataset: its rows, and the files of any sample without reading the rest of its shard."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from facefact.data.records import Row
from facefact.data.tables import read_records
from facefact.types import UserError

SHARDS, INDEX, REJECTED, ABOUT = "shards", "index.parquet", "rejected.parquet", "prepare.json"


@dataclass(frozen=True)
class IndexRow(Row):
    """A row of `index.parquet`: whose it is ("person"), for what ("train" or "validation"), whether it looks unlike the
    rest of its person, and where its members lie: bytes `offset` to `offset + length` of `shards/<shard>`."""

    person: str = ""
    split: str = "train"
    outlier: bool = False
    shard: str = ""
    offset: int = 0
    length: int = 0


@dataclass(frozen=True)
class PreparedSample:
    """One sample. image: (h, w, 3) uint8. face, head: (h, w) bool. crop: (112, 112, 3) uint8, the face condition."""

    row: IndexRow
    image: np.ndarray
    face: np.ndarray
    head: np.ndarray
    crop: np.ndarray


@dataclass(frozen=True)
class PreparedDataset:
    """A folder that `facefact prepare` has finished. rows: in the input's order. fingerprint: of all that decided."""

    folder: Path
    rows: tuple[IndexRow, ...]
    fingerprint: str

    @classmethod
    def open(cls, folder: Path) -> PreparedDataset:
        """UserError: no dataset, or not a finished one."""
        path = Path(folder) / INDEX
        if not path.is_file():
            raise UserError(f"{folder} holds no finished dataset: there is no {INDEX}; run facefact prepare again")
        try:
            made = json.loads((Path(folder) / ABOUT).read_text(encoding="utf-8"))["fingerprint"]
            return cls(Path(folder), tuple(read_records(path, IndexRow)), made)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error

    def read(self, row: IndexRow) -> PreparedSample:
        """UserError: its shard is missing or damaged."""
        files = self.files(row)
        try:
            pixels = {
                name: np.asarray(Image.open(io.BytesIO(files[name])))
                for name in ("jpg", "face.png", "head.png", "crop.png")
            }
        except (KeyError, OSError) as error:
            raise UserError(f"{self.folder / SHARDS / row.shard} is damaged at {row.sample}: prepare again") from error
        return PreparedSample(row, pixels["jpg"], pixels["face.png"], pixels["head.png"], pixels["crop.png"])

    def files(self, row: IndexRow) -> dict[str, bytes]:
        """Suffix -> bytes of each member of a sample."""
        path = self.folder / SHARDS / row.shard
        try:
            with path.open("rb") as shard:
                shard.seek(row.offset)
                part = io.BytesIO(shard.read(row.length))
            with tarfile.open(fileobj=part, mode="r:") as tar:
                return {one.name.partition(".")[2]: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
        except (OSError, tarfile.TarError) as error:
            raise UserError(f"{path} is missing or damaged: prepare again") from error

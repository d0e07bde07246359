"""What is finished of a preparation, chunk by chunk, in DATASET/.work: the same command goes on from there.

    DATASET/.work/chunks/<key>/samples.parquet     the samples of a chunk of entries, files and all
    DATASET/.work/chunks/<key>/rejected.parquet    what of it is not fit

The key is that of everything that decides the contents: the entries (name, size and time of the file, what the input
says), the settings, the models. A chunk is there whole or not at all; another setting never meets it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from facefact.data.records import Brief, CheckedSample, Entry, Rejection, Row
from facefact.data.stages import Chunk
from facefact.data.tables import arrow, columns_of, read_records, read_rows, tupled, write_table

VERSION = 2  # of how a picture becomes a sample; a change makes other samples of the same pictures
SAMPLES, REJECTED = "samples.parquet", "rejected.parquet"
SUFFIXES = ("jpg", "face.png", "head.png", "crop.png")


class Work:
    """The finished chunks in a folder. Several processes may write into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "chunks"
        self.folder.mkdir(parents=True, exist_ok=True)

    def has(self, key: str) -> bool:
        return (self.folder / key).is_dir()

    def save(self, key: str, chunk: Chunk) -> None:
        """Whole or not at all; what another process has written meanwhile stays."""
        if self.has(key):
            return
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=self.folder))
        try:
            write_table(unfinished / SAMPLES, sample_columns(), map(sample_row, chunk.samples))
            write_table(unfinished / REJECTED, columns_of(Rejection), map(asdict, chunk.rejected))
            os.rename(unfinished, self.folder / key)
        except OSError:
            if not self.has(key):
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def briefs(self, key: str) -> Iterator[Brief]:
        """Without the files: those columns are not read."""
        names = ["sample", "person_said", "sha256", "print", "quality", "embedding", "name"]
        for row in read_rows(self.folder / key / SAMPLES, names):
            hash_bits, embedding = int.from_bytes(row["print"], "big"), row["embedding"]
            face = None if embedding is None else np.array(embedding, np.float32)
            yield Brief(row["sample"], row["person_said"], row["sha256"], hash_bits, row["quality"], face, row["name"])

    def drafts(self, key: str) -> Iterator[dict[str, Any]]:
        """What a rejection says of each sample; without the files too."""
        names = ["sample", "name", "person_said", "sha256", "box", "landmarks"]
        for row in read_rows(self.folder / key / SAMPLES, names):
            yield {name: tupled(value) for name, value in row.items()}

    def samples(self, key: str) -> Iterator[tuple[Row, dict[str, bytes]]]:
        """Row and files of each sample, in the order of the entries."""
        known = [field.name for field in fields(Row)]
        for row in read_rows(self.folder / key / SAMPLES):
            yield Row(**{name: tupled(row[name]) for name in known}), {name: row[f"file_{name}"] for name in SUFFIXES}

    def rejected(self, key: str) -> Iterator[Rejection]:
        return read_records(self.folder / key / REJECTED, Rejection)


def sample_columns() -> list[Any]:
    """Those of Row, then what only the work needs."""
    pa = arrow()
    files = [pa.field(f"file_{name}", pa.binary()) for name in SUFFIXES]
    known = [pa.field("person_said", pa.string()), pa.field("print", pa.binary(8))]
    return [*columns_of(Row), *known, pa.field("embedding", pa.list_(pa.float32())), *files]


def sample_row(one: CheckedSample) -> dict[str, Any]:
    return asdict(one.row) | {
        "person_said": one.person,
        "print": one.perceptual_hash.to_bytes(8, "big"),
        "embedding": None if one.embedding is None else one.embedding.tolist(),
        **{f"file_{name}": one.files[name] for name in SUFFIXES},
    }


# The keys


def chunk_key(entries: Sequence[Entry], deciding: str) -> str:
    """deciding: what decides the contents besides the entries (`deciding_text`)."""
    lines = [deciding, *(entry_line(entry) for entry in entries)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def entry_line(entry: Entry) -> str:
    """One line that changes when the entry does: a file that was written to has another size or time."""
    place = entry.place
    try:
        about = os.stat(place.path)
        state = [about.st_size, about.st_mtime_ns]
    except (OSError, ValueError):
        state = []
    words = [entry.name, entry.person, entry.caption, entry.source, entry.licence]
    return json.dumps([*words, place.offset, place.size, place.row, place.column, *state])


def deciding_text(settings: dict[str, Any], models: list[dict[str, str]]) -> str:
    return json.dumps([VERSION, settings, models], sort_keys=True)

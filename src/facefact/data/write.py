"""From finished chunks and the verdict on all of them to the dataset: shards, index.parquet, rejected.parquet.

The same chunks and the same verdict give the same bytes: members of a tar have no time and no owner, rows come in the
input's order.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from facefact.data.dataset import INDEX, REJECTED, SHARDS
from facefact.data.records import Rejection, Row, Verdict
from facefact.data.tables import TableWriter, arrow, columns_of, write_table
from facefact.data.work import Work


class ShardWriter:
    """The shards of one split, one after the other: `shards/<split>-00000.tar`, each of `size` samples."""

    def __init__(self, folder: Path, split: str, size: int) -> None:
        self.folder, self.split, self.size = folder, split, size
        self.count = 0
        self.tar: tarfile.TarFile | None = None

    def add(self, sample: str, files: dict[str, bytes]) -> tuple[str, int, int]:
        """-> name of the shard, and where in it the sample's members lie: offset and length in bytes."""
        if self.count % self.size == 0:
            self.close()
            self.name = f"{self.split}-{self.count // self.size:05d}.tar"
            self.tar = tarfile.open(self.folder / self.name, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        assert self.tar is not None
        first = self.tar.offset
        for suffix, data in files.items():
            member = tarfile.TarInfo(f"{sample}.{suffix}")
            member.size = len(data)
            self.tar.addfile(member, io.BytesIO(data))
        self.count += 1
        return self.name, first, self.tar.offset - first

    def close(self) -> None:
        if self.tar is not None:
            self.tar.close()
            self.tar = None


def write_samples(folder: Path, keys: Sequence[str], work: Work, verdict: Verdict, *, shard: int) -> Counter[str]:
    """Shards and index of all samples that stay, into an empty folder; returns how many of each split."""
    (folder / SHARDS).mkdir()
    writers = {split: ShardWriter(folder / SHARDS, split, shard) for split in ("train", "validation")}
    with TableWriter(folder / INDEX, index_columns()) as index:
        for row, files in (one for key in keys for one in work.samples(key)):
            person = verdict.person.get(row.sample)
            if person is None:
                continue
            split = verdict.split[person]
            about = {**asdict(row), "person": person, "split": split, "outlier": row.sample in verdict.outliers}
            members = {**files, "txt": row.caption.encode(), "json": json.dumps(about, ensure_ascii=False).encode()}
            name, offset, length = writers[split].add(row.sample, members)
            index.add({**about, "shard": name, "offset": offset, "length": length})
    for writer in writers.values():
        writer.close()
    return Counter({split: writer.count for split, writer in writers.items()})


def index_columns() -> list[Any]:
    """Those of Row, whose it is, and where it lies."""
    pa = arrow()
    places = [
        ("person", pa.string()),
        ("split", pa.string()),
        ("outlier", pa.bool_()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
    return [*columns_of(Row), *(pa.field(name, kind, nullable=False) for name, kind in places)]


def write_rejected(folder: Path, keys: Sequence[str], work: Work, verdict: Verdict) -> Counter[tuple[str, str]]:
    """All that is not in the index, in the input's order; returns how many of each stage and reason."""
    counts: Counter[tuple[str, str]] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for key in keys:
            for one in [*work.rejected(key), *left_out(work, key, verdict)]:
                counts[one.stage, one.reason] += 1
                yield asdict(one)

    write_table(folder / REJECTED, columns_of(Rejection), rows())
    return counts


def left_out(work: Work, key: str, verdict: Verdict) -> Iterable[Rejection]:
    """The samples of a chunk that the verdict on all of them leaves out."""
    for one in work.drafts(key):
        if unfit := verdict.unfit.get(one["sample"]):
            known = (one[name] for name in ("person_said", "sha256", "box", "landmarks"))
            yield Rejection(one["name"], unfit.stage, unfit.reason, unfit.detail, *known)

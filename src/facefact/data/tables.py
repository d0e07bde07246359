"""Typed records as Parquet tables: one column a field, the column's type from the field's annotation."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from facefact.types import UserError

if TYPE_CHECKING:
    import pyarrow

T = TypeVar("T")

FIXED = {"box": 4, "landmarks": 10}  # numbers in a field that always has as many
ROWS = 1024  # of a row group


def arrow() -> Any:
    """pyarrow with its Parquet part. UserError, with how to install it, where it is not."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError("Parquet files need pyarrow; install it with: pip install 'facefact[data]'") from None
    return pyarrow


def columns_of(record: type) -> list[pyarrow.Field]:
    """The columns of a dataclass of plain values."""
    hints = typing.get_type_hints(record)
    return [column(field.name, hints[field.name]) for field in fields(record)]


def column(name: str, hint: Any) -> pyarrow.Field:
    """str, int, float, bool, bytes, tuple[float, ...]; each also `| None`."""
    pa = arrow()
    optional = isinstance(hint, types.UnionType)
    if optional:
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if typing.get_origin(hint) is tuple:
        kind = pa.list_(pa.float32(), FIXED.get(name, -1))
    else:
        kind = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()}[hint]
    return pa.field(name, kind, nullable=optional)


class TableWriter:
    """Rows (mappings) into one Parquet file, in row groups of ROWS: the file does not depend on how they came."""

    def __init__(self, path: Path, columns: list[pyarrow.Field]) -> None:
        pa = arrow()
        self.schema = pa.schema(columns)
        self.rows: list[Mapping[str, Any]] = []
        self.writer = pa.parquet.ParquetWriter(path, self.schema, compression="zstd")

    def add(self, row: Mapping[str, Any]) -> None:
        self.rows.append(row)
        if len(self.rows) == ROWS:
            self._flush()

    def _flush(self) -> None:
        self.writer.write_table(arrow().Table.from_pylist(self.rows, schema=self.schema))
        self.rows = []

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None and self.rows:
            self._flush()
        self.writer.close()


def write_table(path: Path, columns: list[pyarrow.Field], rows: Iterable[Mapping[str, Any]]) -> None:
    with TableWriter(path, columns) as table:
        for row in rows:
            table.add(row)


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, one row group in memory at a time."""
    with arrow().parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROWS, columns=columns):
            yield from batch.to_pylist()


def read_records(path: Path, record: type[T]) -> Iterator[T]:
    """The rows of a Parquet file as records; columns that the record does not know are left out."""
    known = {field.name for field in fields(record)}  # type: ignore[arg-type]
    for row in read_rows(path):
        yield record(**{name: tupled(value) for name, value in row.items() if name in known})


def tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

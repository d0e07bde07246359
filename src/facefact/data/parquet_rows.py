"""Pictures that lie in Parquet files: one a row, as bytes or as the struct of `datasets`. They are read as they are
needed; no file and no row group is ever in memory as a whole."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

from facefact.data.description import FIELDS, NOTHING, Description, description_of, one_line
from facefact.data.records import Entry, Place, Unfit
from facefact.types import UserError

PICTURE_COLUMNS = ("image", "picture", "photo", "img", "jpg", "jpeg", "png", "webp", "bytes")  # the first one is taken
PERSON_COLUMNS = ("person", "label")
WORD_COLUMNS = (*PERSON_COLUMNS, *(name for names in FIELDS.values() for name in names))
BATCH = 16  # pictures in memory at once


def list_parquet(path: Path, file_name: str) -> list[Entry]:
    """The rows of a file, in its order; of one that cannot be read, a single entry that says so when it is read.

    file_name: as the entries have it. UserError: pyarrow is not installed, or more than one column may be the pictures.
    """
    try:
        file = _open(path)
        column = picture_column(file.schema_arrow, file_name)
        count = file.metadata.num_rows
    except UserError:
        raise
    except Exception:  # a damaged file makes pyarrow raise anything
        column = None
    if column is None:
        return [Entry(file_name, Place(path, column=""))]
    entries = [_entry(path, file_name, column, row, description) for row, description in enumerate(_descriptions(file))]
    rest = range(len(entries), count)  # of a file whose words are damaged: its pictures may be whole
    return entries + [_entry(path, file_name, column, row, NOTHING) for row in rest]


def _open(path: Path) -> Any:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UserError("Parquet files need pyarrow: pip install 'facefact[data]'") from None
    return ParquetFile(path, pre_buffer=False, buffer_size=1 << 16)  # else a column of a row group is read at once


def _entry(path: Path, file_name: str, column: str, row: int, description: Description) -> Entry:
    place = Place(path, row=row, column=column)
    return Entry(f"{file_name}/{row}", place, **asdict(description))


def picture_column(schema: Any, file_name: str) -> str | None:
    """The column with the pictures' bytes, as in `Place`; None where there is none. UserError: there are several, and
    none has a usual name."""
    from pyarrow import types

    found = {}
    for field in schema:
        binary = types.is_binary(field.type) or types.is_large_binary(field.type)
        if binary or types.is_fixed_size_binary(field.type):
            found[field.name] = field.name
        elif types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            found[field.name] = f"{field.name}.bytes"
    usual = [name for name in PICTURE_COLUMNS if name in found]
    if len(found) > 1 and not usual:
        raise UserError(f"{file_name}: several columns may be the pictures ({_line(', '.join(found))}); call one image")
    return found[(usual or list(found))[0]] if found else None


def _descriptions(file: Any) -> Iterator[Description]:
    """What each row says, as far as it can be read."""
    from pyarrow import types

    def short(kind: Any) -> bool:
        kind = kind.value_type if types.is_dictionary(kind) or types.is_list(kind) else kind
        return types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind)

    columns = [field.name for field in file.schema_arrow if field.name in WORD_COLUMNS and short(field.type)]
    if not columns:
        return
    names = _label_names(file.schema_arrow)
    try:
        for batch in file.iter_batches(batch_size=1024, columns=columns, use_threads=False):
            for row in batch.to_pylist():
                label = row.pop("label", None)
                if isinstance(label, int) and names:
                    label = names[label] if 0 <= label < len(names) else None
                yield description_of({"person": label} | {name: cell for name, cell in row.items() if cell is not None})
    except Exception:  # as above
        return


def _label_names(schema: Any) -> list[str]:
    """The names behind the numbers in "label", where `datasets` has left them in the file."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return [str(name) for name in features["label"]["names"]]
    except (TypeError, KeyError, ValueError):
        return []


def read_cell(place: Place) -> bytes:
    """The bytes of one row; empty where it has none. Unfit: the file is damaged."""
    if place.row is None or place.column is None:
        raise Unfit("decode", "unreadable", _what_is_wrong(place.path))
    status = place.path.stat()
    try:
        return _cells(place.path, place.column, status.st_size, status.st_mtime_ns).read(place.row)
    except Exception as error:  # as above
        _cells.cache_clear()
        if isinstance(error, UserError) or getattr(error, "errno", None) is not None:
            raise  # pyarrow's own errors are OSErrors too, without a number
        raise Unfit("decode", "damaged", f"the Parquet file is damaged ({_line(error)})") from error


def _what_is_wrong(path: Path) -> str:
    try:
        schema = _open(path).schema_arrow
    except UserError:
        raise
    except Exception as error:
        return f"the Parquet file cannot be read ({_line(error)})"
    return f"no column holds pictures (bytes, or a struct with bytes): {_line(', '.join(schema.names))}"


def _line(error: object) -> str:
    return (one_line(str(error)) or type(error).__name__)[:120]


@lru_cache(maxsize=1)
def _cells(path: Path, column: str, size: int, changed: int) -> Cells:
    """Of one file; neighbouring rows come from it. size, changed: of the file, which may be written again."""
    return Cells(path, column)


class Cells:
    """One column of one file. Rows that are asked for in rising order are decoded once."""

    def __init__(self, path: Path, column: str) -> None:
        self.file = _open(path)
        self.column = column
        self.inner = None if column in self.file.schema_arrow.names else column.rpartition(".")[2]
        counts = [self.file.metadata.row_group(group).num_rows for group in range(self.file.num_row_groups)]
        self._ends = list(accumulate(counts))  # of the row groups, in rows of the file
        self._lock = Lock()
        self._group = -1
        self._start = 0  # of the batch, in rows of the file
        self._batch: list[Any] = []
        self._batches: Iterator[Any] = iter(())

    def read(self, row: int) -> bytes:
        """Empty where the cell is."""
        with self._lock:
            group = bisect_right(self._ends, row)
            if group != self._group or row < self._start:
                self._batches = self.file.iter_batches(
                    batch_size=BATCH, row_groups=[group], columns=[self.column], use_threads=False
                )
                self._group, self._start, self._batch = group, self._ends[group - 1] if group else 0, []
            while row >= self._start + len(self._batch):
                self._start += len(self._batch)
                self._batch = next(self._batches).column(0)
            cell = self._batch[row - self._start].as_py()
        return (cell or {}).get(self.inner) or b"" if self.inner else cell or b""

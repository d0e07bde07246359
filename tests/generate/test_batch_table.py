"""Tables of jobs, read strictly: what concerns every row refuses the table, anything else is its row's alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from facefact.demo import GUIDANCE_SCALE, SCALE
from facefact.generate.batch_table import BadRow, Row, read_table
from facefact.types import UserError

ROWS: list[dict[str, Any]] = [
    {"face": ["ada.jpg", "photos/ada2.jpg"], "prompt": "a red coat, snow", "id": "ada", "count": 2, "seed": 7},
    {"face": ["ben.jpg"], "prompt": 'said "hello"', "id": "7", "scale": 0.5, "local": True, "size": 64, "steps": 3},
]


def table(folder: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    path = folder / "jobs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def rows(path: Path, **common: Any) -> list[Row]:
    found = read_table(path, model="other", common=common)
    assert all(isinstance(row, Row) for row in found), found
    return [row for row in found if isinstance(row, Row)]


def test_the_three_kinds_of_files_say_the_same(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow.parquet")
    expected = rows(table(tmp_path, ROWS))
    assert [row.id for row in expected] == ["ada", "7"]
    assert expected[0].faces == (tmp_path / "ada.jpg", tmp_path / "photos/ada2.jpg")
    assert (expected[0].count, expected[0].settings.seed, expected[0].settings.steps) == (2, 7, 25)
    settings = expected[1].settings
    assert (settings.scale, settings.local, settings.width, settings.height, settings.steps) == (0.5, True, 64, 64, 3)
    columns = list(dict.fromkeys(name for row in ROWS for name in row))
    with open(tmp_path / "jobs.csv", "w", newline="", encoding="utf-8-sig") as file:  # as spreadsheets write it
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(row | {"face": "; ".join(row["face"])} for row in ROWS)
    import pyarrow

    pa.write_table(pyarrow.Table.from_pylist([dict.fromkeys(columns) | row for row in ROWS]), tmp_path / "jobs.parquet")
    assert rows(tmp_path / "jobs.csv") == rows(tmp_path / "jobs.parquet") == expected


def test_a_row_goes_before_what_all_have_in_common_and_that_before_the_model(tmp_path: Path) -> None:
    path = table(tmp_path, [{"face": "a.jpg", "prompt": "mine", "steps": 4, "width": 32}, {"face": "a.jpg"}])
    first, second = rows(path, prompt="ours", steps=9, size=64, count=3, scale=None)
    assert (first.settings.prompt, first.settings.steps, first.count) == ("mine", 4, 3)
    assert (first.settings.width, first.settings.height) == (32, 64)
    assert (second.settings.prompt, second.settings.steps, second.settings.scale) == ("ours", 9, 0.7)
    demo = read_table(path, model="demo", common={"prompt": "ours"})[1]
    assert isinstance(demo, Row)
    assert (demo.settings.guidance_scale, demo.settings.scale) == (GUIDANCE_SCALE, SCALE)  # the demo model's own


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"steps": "many"}, "steps must be int, not 'many'"),
        ({"steps": 0}, "0 steps make no picture"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"prompt": " "}, "no prompt"),
        ({"prompt": None}, "no prompt"),
        ({"face": []}, "no face"),
        ({"face": None}, "face is missing"),
        ({"count": 0}, "count is 0"),
        ({"local": "perhaps"}, "local must be bool"),
        ({"id": "../up"}, "cannot begin a file's name"),
        ({"id": ".hidden"}, "cannot begin a file's name"),
        ({"id": "x" * 101}, "cannot begin a file's name"),
    ],
)
def test_a_bad_row_is_bad_alone(tmp_path: Path, wrong: dict[str, Any], line: str) -> None:
    good = {"face": "a.jpg", "prompt": "a coat"}
    before, bad, after = read_table(table(tmp_path, [good, good | wrong, good]), model="other")
    assert isinstance(before, Row)
    assert isinstance(after, Row)
    assert isinstance(bad, BadRow)
    assert line in bad.error
    assert (bad.number, after.number, after.id) == (2, 3, "row-3")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("jobs.jsonl", '{"face": "a.jpg", "promt": "x"}', "column 'promt'; did you mean prompt?"),
        ("jobs.jsonl", '{"face": "a.jpg", "colour": "x"}', "there are face, prompt"),
        ("jobs.jsonl", '{"face": "a.jpg"', "line 1 is no JSON"),
        ("jobs.jsonl", "[" * 100_000, "line 1 is no JSON"),
        ("jobs.jsonl", "[1]", "no JSON object"),
        ("jobs.jsonl", "\n\n", "has no rows"),
        ("jobs.jsonl", '{"face": "a", "id": "Ada"}\n{"face": "b", "id": "ada"}', "rows 1 and 2 have the same id"),
        ("jobs.csv", "face,prompt\na.jpg\n", "not as many cells"),
        ("jobs.csv", "face,prompt\na.jpg,b,c\n", "not as many cells"),
        ("jobs.csv", 'face,prompt\na.jpg,"b\n', "is no CSV"),
        ("jobs.parquet", "PAR1", "is no Parquet file"),
        ("jobs.txt", "a.jpg", "is no table of jobs"),
    ],
)
def test_a_table_that_is_damaged_is_refused_in_one_line(tmp_path: Path, name: str, text: str, line: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as refused:
        read_table(tmp_path / name, model="other")
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_table_that_is_not_there_or_no_text_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no table of jobs"):
        read_table(tmp_path / "jobs.csv", model="other")
    (tmp_path / "jobs.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="as UTF-8 text"):
        read_table(tmp_path / "jobs.csv", model="other")

"""The dataset's card: its header is what the hub and `datasets` read, its examples run, it says what must be said."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from facefact.data.card import FIELDS, write_card
from facefact.data.dataset import IndexRow
from facefact.data.prepare_config import PrepareConfig
from facefact.data.records import Rejection
from facefact.data.summary import STAGES
from facefact.types import UserError
from prepared import row, write_dataset

pytest.importorskip("pyarrow")

REJECTED = [
    Rejection("Ann/a.jpg", "decode", "truncated"),
    Rejection("Ann/b.jpg", "detect", "no face"),
    Rejection("Ann/c.jpg", "detect", "no | <b>face\n#"),
]


@pytest.fixture(scope="module")
def rows() -> list[IndexRow]:
    people = ("Ann", "Ann", "Ann", "Bob", "Bob", "Cid")
    return [row(i, person=one, split="validation" if one == "Bob" else "train") for i, one in enumerate(people)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, rows) -> Path:
    folder = write_dataset(tmp_path_factory.mktemp("home") / "my set", rows, REJECTED)
    assert write_card(folder) == folder / "dataset_card.md"
    return folder


@pytest.fixture(scope="module")
def card(dataset) -> str:
    return (dataset / "dataset_card.md").read_text(encoding="utf-8")


def header(text: str) -> dict:
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


def test_the_header_is_the_hubs(dataset, card) -> None:
    found = header(card)
    assert found["license"] == "unknown"
    assert found["size_categories"] == ["n<1K"]
    assert found["configs"] == [{"config_name": "default", "data_files": [{"split": "index", "path": "index.parquet"}]}]
    hub = pytest.importorskip("huggingface_hub")
    read = hub.DatasetCard.load(dataset / "README.md")
    assert read.data.pretty_name == "6 portraits of 3 people"
    assert "text-to-image" in read.data.task_categories


def test_counts_splits_and_stages(card) -> None:
    for line in (
        "| train | 4 | 2 |",
        "| validation | 2 | 1 |",
        "| all | 6 | 3 |",
        "9 pictures of the input = 6 kept + 3 rejected",
        "face.min_size = 48",
        "duplicates.distance = 4",
        "people.validation = 0.1",
        "avatar (Apache-2.0)",
        ".../dlib (CC0-1.0)",
        "truncated 1",
    ):
        assert line in card, line
    assert "not accounted" not in card


def test_every_column_and_every_setting_is_known(card) -> None:
    assert list(FIELDS) == [field.name for field in fields(IndexRow)]
    assert all(f"| `{name}` |" in card for name in FIELDS)
    for name in (name for stage in STAGES.values() for name in stage.settings):
        group, _, key = name.partition(".")
        assert hasattr(getattr(PrepareConfig(), group), key), name


def test_tables_stay_tables_whatever_is_in_them(card) -> None:
    """Every row has the cells of its head: nothing written into one ends it."""
    width = 0
    for line in card.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not width or cells in (0, width), line
        width = cells
    assert "<b>" not in card


def test_caution_and_limits_are_in_plain_words(card) -> None:
    for words in ("biometric", "consent", "The licence of these pictures is unknown", "Known limits", "report.html"):
        assert words in card, words


def test_nobodys_folder_and_no_date(dataset, card) -> None:
    for word in (str(dataset.parent), "home", "my set"):
        assert word not in card, word
    assert not re.search(r"\b20\d\d-\d\d", card)
    assert (dataset / "README.md").read_text(encoding="utf-8") == card


def test_the_same_dataset_has_the_same_card(tmp_path, rows, card) -> None:
    assert write_card(write_dataset(tmp_path, rows, REJECTED)).read_text(encoding="utf-8") == card


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (["cc-by-4.0"], {"license": "cc-by-4.0"}),
        (["CC-BY-4.0", "CC0-1.0"], {"license": ["cc-by-4.0", "cc0-1.0"]}),
        (["mit", None], {"license": ["mit", "unknown"]}),
        (["press photo: do not print"], {"license": "other", "license_name": "as-the-input-states"}),
    ],
)
def test_the_licence_is_the_inputs(tmp_path, rows, stated, expected) -> None:
    licensed = [replace(one, licence=stated[i % len(stated)]) for i, one in enumerate(rows)]
    text = write_card(write_dataset(tmp_path, licensed)).read_text(encoding="utf-8")
    assert {name: value for name, value in header(text).items() if name.startswith("license")} == expected
    assert ("is unknown" in text) == (None in stated)
    assert all((licence or "The licence of 3 pictures is unknown") in text for licence in stated)


def test_an_empty_dataset_and_none(tmp_path) -> None:
    text = write_card(write_dataset(tmp_path / "none", [])).read_text(encoding="utf-8")
    assert "0 portraits of 0 people" in text
    assert header(text)["license"] == "unknown"
    with pytest.raises(UserError, match="has no index.parquet"):
        write_card(tmp_path)


def test_pictures_that_are_missing_are_told(tmp_path, rows) -> None:
    text = write_card(write_dataset(tmp_path, rows, REJECTED, inputs=11)).read_text(encoding="utf-8")
    assert "The input has 11: 2 are not accounted for." in text


def test_datasets_reads_the_folder_and_the_cards_examples_run(dataset, card, tmp_path, monkeypatch) -> None:
    """The folder by its header, offline; then every piece of Python in the card, as it stands there."""
    pytest.importorskip("webdataset")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    known: dict = {}
    for piece in re.findall(r"```python\n(.*?)```", card, flags=re.S):
        exec(piece.replace("DATASET", str(dataset)), known)
    assert known["rows"].num_rows == 6
    assert set(known["rows"].column_names) == set(FIELDS)
    assert sorted(known["train"]["person"]) == ["Ann", "Ann", "Ann", "Cid"]
    assert len(known["rows"][0]["landmarks"]) == 10
    assert known["picture"].size == known["head"].size == (128, 128)
    assert known["name"] == "000005"
    sample = next(iter(known["pictures"]))
    assert {"jpg", "face.png", "head.png", "__key__"} <= sample.keys()

"""Which source the settings name."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from facefact.train.material.photos import FolderSource
from facefact.train.material.sources import open_source
from facefact.train.material.world import WorldSource
from facefact.train.settings import Data
from facefact.types import UserError


def test_a_source_is_found_or_the_run_ends_with_one_line(folder: Path, tmp_path_factory) -> None:
    assert isinstance(open_source(Data(people=6)), WorldSource)
    assert isinstance(open_source(Data(source=str(folder), validation_people=1)), FolderSource)
    empty = tmp_path_factory.mktemp("empty")
    single = tmp_path_factory.mktemp("single")
    (single / "me").mkdir()
    Image.new("RGB", (64, 64)).save(single / "me" / "1.png")
    prepared = tmp_path_factory.mktemp("prepared")
    (prepared / "index.parquet").write_bytes(b"")
    for data, message in (
        (Data(people=4, validation_people=4), "none is left"),
        (Data(people=1), "1 people"),
        (Data(looks=0), "at least 1"),
        (Data(source=str(folder), validation_people=2), "none is left"),
        (Data(source=str(folder / "gone")), "no folder"),
        (Data(source=str(empty)), "holds no pictures"),
        (Data(source=str(single)), "several"),
        (Data(source=str(prepared)), "index.parquet cannot be read"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            open_source(data)
        assert "\n" not in str(raised.value)

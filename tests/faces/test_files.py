"""One list of suffixes for all commands; what cannot be read is said with its number and how to mend it."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.faces import files, open_picture
from facefact.faces.files import is_nothing, is_picture, pictures_below
from facefact.types import UserError

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "JPE", "avif", "heic", "HEIF", "hif", "jxl"])
def test_suffixes_of_pictures(suffix: str) -> None:
    assert is_picture(f"22.05.{suffix}")
    assert not is_picture(suffix)


@pytest.mark.parametrize("name", ["._me.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX", ".hidden"])
def test_what_systems_leave_behind_is_nothing(name: str) -> None:
    assert is_nothing(name)
    assert not is_nothing("me.jpg")


def test_pictures_below_a_folder(tmp_path: Path) -> None:
    for name in ("a/2.jfif", "a/1.JPE", "b.avif", "._b.avif", "__MACOSX/b.avif", ".cache/c.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [path.relative_to(tmp_path).as_posix() for path in pictures_below(tmp_path)] == [
        "a/1.JPE",
        "a/2.jfif",
        "b.avif",
    ]


def test_a_folder_with_unreadable_pictures_says_how_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1.heic", "2.HEIF", "3.jxl", "4.jpg"):
        (tmp_path / name).write_bytes(HEIC)
    monkeypatch.setattr(files, "heif_is_here", lambda: False)
    with caplog.at_level(logging.WARNING):
        pictures_below(tmp_path)
    heif, jpeg_xl = [record.getMessage() for record in caplog.records]
    assert "2 of 4 pictures are HEIC" in heif
    assert "facefact[heif]" in heif
    assert "1 of 4 pictures are JPEG XL" in jpeg_xl


def test_an_unreadable_picture_says_how_to_mend_it(tmp_path: Path) -> None:
    (tmp_path / "a.jxl").write_bytes(b"\0\0\0\x0cJXL \r\n\x87\n")
    with pytest.raises(UserError, match="JPEG XL pictures cannot be read: save as JPEG or PNG"):
        open_picture(tmp_path / "a.jxl")
    if not files.heif_is_here():
        (tmp_path / "a.heic").write_bytes(HEIC)
        with pytest.raises(UserError, match=r"pip install 'facefact\[heif\]'"):
            open_picture(tmp_path / "a.heic")


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="pillow-heif is not installed")
def test_heic_is_read_where_pillow_heif_is(tmp_path: Path) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    Image.new("RGB", (64, 48), (200, 100, 50)).save(tmp_path / "a.heic", quality=95)
    pixels = open_picture(tmp_path / "a.heic")
    assert pixels.shape == (48, 64, 3)
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() < 6

"""Colours that a file declares without an ICC profile, by chunks and boxes written here byte by byte."""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from facefact.faces import open_picture
from facefact.faces.colour import from_srgb, to_srgb
from facefact.faces.declared import icc, profile_of
from profiles import ADOBE_GAMMA, ADOBE_RGB, DISPLAY_P3, SRGB, cicp, in_srgb, png

COLOURS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
COLOURS[0] = [
    [198, 150, 128],
    [224, 172, 150],
    [120, 80, 62],
    [128, 128, 128],
    [255, 255, 255],
    [0, 0, 0],
    [9, 9, 9],
    [255, 0, 0],
]
BT_2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
CHUNK_SRGB = (b"sRGB", b"\0")


def gama(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def chrm(primaries: Any, white: tuple[float, float] = (0.3127, 0.3290)) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(v * 100_000) for point in (white, *primaries) for v in point))


@pytest.mark.parametrize(
    ("chunks", "primaries", "gamma"),
    [
        ([cicp(12, 13)], DISPLAY_P3, None),
        ([cicp(12, 1)], DISPLAY_P3, None),  # as browsers have it
        ([cicp(12, 2)], DISPLAY_P3, None),
        ([cicp(1, 4)], SRGB, 2.2),
        ([cicp(9, 8)], BT_2020, 1.0),
        ([cicp(12, 13), CHUNK_SRGB, gama(0.5)], DISPLAY_P3, None),  # the first counts
        ([gama(256 / 563), chrm(ADOBE_RGB)], ADOBE_RGB, ADOBE_GAMMA),
        ([chrm(DISPLAY_P3)], DISPLAY_P3, None),
        ([gama(1.0)], SRGB, 1.0),
        ([gama(1 / 1.8), chrm(SRGB)], SRGB, 1.8),
    ],
)
def test_a_png_is_seen_as_it_says(chunks: list[tuple[bytes, bytes]], primaries: Any, gamma: float | None) -> None:
    seen, right = open_picture(png(*chunks, pixels=COLOURS)), in_srgb(COLOURS, primaries, gamma)
    assert np.abs(seen - right).max() < 2.5
    assert np.abs(seen - right).mean() < 0.5
    assert np.abs(COLOURS - right).max() > 5, "which is not how it is stored"


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [CHUNK_SRGB, gama(0.9)],
        [gama(0.45455)],
        [gama(0.45455), chrm(SRGB)],
        [chrm(SRGB)],
        [cicp(1, 13)],
        [cicp(2, 2)],
        [cicp(1, 1), gama(0.9)],
    ],
)
def test_srgb_in_any_words_leaves_the_pixels_alone(chunks: list[tuple[bytes, bytes]]) -> None:
    np.testing.assert_array_equal(open_picture(png(*chunks, pixels=COLOURS)), COLOURS)


def test_values_from_16_to_235() -> None:
    narrow = np.round(16 + COLOURS / 255 * 219).astype(np.uint8)
    assert np.abs(open_picture(png(cicp(1, 13, full=0), pixels=narrow)).astype(int) - COLOURS).max() <= 2


@pytest.mark.parametrize(("transfer", "white", "half"), [(16, 0.5807, 0.4417), (18, 0.75, 0.5002)])
def test_of_hdr_pictures_diffuse_white_is_white(transfer: int, white: float, half: float) -> None:
    """203 cd/m2 by ITU-R BT.2408, and a quarter of it. (HLG's 0.75 is 203 cd/m2 on a screen of 1000.)"""
    values = np.round(255 * np.array([[white, half, 1.0, 0.0]])).astype(np.uint8).repeat(3).reshape(1, 4, 3)
    seen = open_picture(png(cicp(9, transfer), pixels=values))[0, :, 0].astype(int)
    quarter = 255 * (1.055 * 0.25 ** (1 / 2.4) - 0.055)
    assert seen[0] >= 252
    assert abs(seen[1] - quarter) < 4
    assert (seen[2], seen[3]) == (255, 0)


def test_a_grey_picture_and_one_with_a_palette(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    right = in_srgb(np.dstack([ramp] * 3), SRGB, 1.0)
    assert np.abs(open_picture(png(gama(1.0), pixels=ramp)) - right).max() < 3
    file = io.BytesIO()
    Image.fromarray(COLOURS).quantize(16).save(file, "PNG")
    head, rest = file.getvalue()[:33], file.getvalue()[33:]
    palette = head + png(cicp(12, 13), pixels=COLOURS)[33:49] + rest  # (a chunk of four bytes is sixteen long)
    stored = np.asarray(Image.open(file).convert("RGB"))
    assert np.abs(open_picture(palette) - in_srgb(stored, DISPLAY_P3, None)).max() < 2.5


@pytest.mark.parametrize(
    "chunk",
    [
        cicp(200, 13),
        cicp(1, 99),
        (b"cICP", b"\x0c"),
        gama(0),
        chrm(((0.3, 0), (0.3, 0.6), (0.1, 0.1))),
        chrm(((0.3, 0.3), (0.4, 0.4), (0.5, 0.5))),
    ],
)
def test_what_makes_no_sense_is_ignored_with_a_note(
    chunk: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(open_picture(png(chunk, pixels=COLOURS), name="a.png"), COLOURS)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "a.png: what it says of its colours (cICP, nclx, gAMA or cHRM) makes no sense"
    )


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
@pytest.mark.parametrize(("primaries", "right"), [(1, SRGB), (12, DISPLAY_P3)])
def test_an_avif_by_its_nclx(primaries: int, right: Any, tmp_path: Path) -> None:
    flat = np.array([[198, 150, 128], [40, 140, 60]], np.uint8).repeat(16, 0)[None].repeat(32, 0)
    Image.fromarray(flat).save(tmp_path / "a.avif", quality=100, subsampling="4:4:4")
    content = bytearray((tmp_path / "a.avif").read_bytes())
    at = content.index(b"nclx") + 4
    content[at : at + 4] = struct.pack(">HH", primaries, 13)
    (tmp_path / "b.avif").write_bytes(content)
    for source in (tmp_path / "b.avif", bytes(content), Image.open(tmp_path / "b.avif")):
        assert np.abs(open_picture(source) - in_srgb(flat, right, None)).max() < 6
    assert np.abs(in_srgb(flat, DISPLAY_P3, None) - flat).max() > 10


def test_another_programs_reader_agrees_with_the_profile() -> None:
    """The profile that stands for the chunks, by littleCMS, there and back."""
    image = Image.open(io.BytesIO(png(cicp(12, 13), pixels=COLOURS)))
    profile, note = profile_of(image)
    assert note is None
    seen, broken = to_srgb(Image.fromarray(COLOURS), profile)
    assert broken is None
    assert np.abs(np.asarray(seen) - in_srgb(COLOURS, DISPLAY_P3, None)).max() < 2.5
    stored = from_srgb(np.asarray(seen), profile)
    inside = (np.asarray(seen) > 0).all(-1) & (np.asarray(seen) < 255).all(-1)  # of sRGB
    assert np.abs(stored.astype(int) - COLOURS)[inside].max() < 4


def test_a_profile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="on one line"):
        icc(((0.3, 0.3), (0.4, 0.4), (0.5, 0.5), (0.3127, 0.329)), b"")

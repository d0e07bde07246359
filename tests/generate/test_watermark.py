"""The mark is invisible, survives what sharing does to a picture, and is not seen where there is none."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

from facefact.generate.watermark import (
    FALSE_ALARM,
    LEAST_SIDE,
    STEP,
    WORD,
    agreement,
    find_mark,
    mark,
    needed,
)
from facefact.types import UserError
from facefact.world import look, person, render


def picture(seed: int = 0, size: int = 256) -> np.ndarray:
    return render(person(seed), look(seed), size=size).image


def through(pixels: np.ndarray, **options: object) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **options)
    return np.asarray(Image.open(file))


def test_it_is_read_where_it_was_written_and_hardly_changes_the_picture() -> None:
    before = picture()
    marked = mark(before)
    assert marked.shape == before.shape
    assert marked.dtype == np.uint8
    assert agreement(marked) == 1.0
    error = np.mean((marked.astype(float) - before) ** 2)
    assert 10 * math.log10(255**2 / error) > 39
    luma = np.array([0.299, 0.587, 0.114])
    assert np.abs(marked @ luma - before @ luma).mean() < 0.5  # what eyes see best stays


@pytest.mark.parametrize("size", [128, 256])
@pytest.mark.parametrize(("quality", "least"), [(95, 0.97), (80, 0.95)])
def test_jpeg_keeps_the_bits(size: int, quality: int, least: float) -> None:
    marked = [mark(picture(seed, size)) for seed in range(8)]
    shares = [agreement(through(one, format="JPEG", quality=quality)) for one in marked]
    assert np.mean(shares) >= least


def test_a_crop_and_half_the_size_are_looked_through() -> None:
    marked = mark(picture(1))
    cropped = np.ascontiguousarray(marked[13:-21, 5:-30])
    assert agreement(cropped) < 0.8
    half = np.asarray(Image.fromarray(marked).resize((128, 128), Image.Resampling.BICUBIC))
    for moved in (cropped, half, through(cropped, format="JPEG", quality=90)):
        found = find_mark(moved)
        assert found.found
        assert found.moved
        assert found.agree > 0.9
    assert not find_mark(marked).moved


def test_nothing_is_found_where_nothing_is() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 264, 3), np.uint8)
    flat = np.full((128, 128, 3), (90, 120, 200), np.uint8)
    rows, columns = np.mgrid[:256, :256]
    stripes = np.stack([np.where(columns // 8 % 2, 40, 200)] * 2 + [rows * 0 + 90], -1).astype(np.uint8)
    board = np.stack([(rows // 8 + columns // 8) % 2 * 160] * 3, -1).astype(np.uint8)
    board[..., 2] //= 3
    tiny = np.zeros((5, 9, 3), np.uint8)
    for clean in (noise, flat, stripes, board, tiny, picture(3)):
        assert not find_mark(clean).found


def test_so_many_bits_by_chance_are_as_rare_as_is_said() -> None:
    """The binomial's tail, summed another way; and the word is no pattern that pictures have."""
    for tries in (1, 8192):
        right = round(needed(tries) * 64)
        tail = sum(math.comb(64, k) for k in range(right, 65)) / 2**64
        more = sum(math.comb(64, k) for k in range(right - 1, 65)) / 2**64
        assert tail * tries < FALSE_ALARM / 2 <= more * tries
    assert 24 <= WORD.sum() <= 40


def test_random_pictures_agree_by_chance() -> None:
    rng = np.random.default_rng(1)
    shares = [agreement(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(200)]
    assert abs(np.mean(shares) - 0.5) < 0.02
    assert abs(np.std(shares) - 0.5 / 8) < 0.015  # of 64 independent bits


def test_the_last_rows_that_fill_no_block_stay() -> None:
    before = picture(2)[:253, :250]
    marked = mark(before)
    assert np.array_equal(marked[248:], before[248:])
    assert np.array_equal(marked[:, 248:], before[:, 248:])
    assert np.abs(marked.astype(int) - before).max() <= math.ceil(STEP / 8 * 2.1)  # blue moves by 2.03 of the channel


def test_a_large_picture_is_marked_throughout() -> None:
    marked = mark(np.tile(picture(4), (5, 3, 1)))  # more rows than are marked at a time
    assert agreement(marked) == 1.0
    assert agreement(marked[512:]) == 1.0
    assert agreement(np.ascontiguousarray(marked[1088:, 512:])) == 1.0


def test_small_pictures_are_refused() -> None:
    with pytest.raises(UserError, match=rf"127x300 is too small for the invisible mark: it wants {LEAST_SIDE} pixels"):
        mark(np.zeros((300, 127, 3), np.uint8))

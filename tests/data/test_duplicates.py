"""Fingerprints: near for what is the same picture, far for what is not; groups of duplicates."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.data.duplicates import BITS, best, groups, near_pairs, perceptual_hash
from facefact.data.prepare_config import DuplicateSettings
from facefact.faces import open_picture
from facefact.types import UserError
from facefact.world import look, person, render

SHARED = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[3] / "shared")
PHOTOS = SHARED / "data" / "lfw_small"
DISTANCE = DuplicateSettings().distance
assert DISTANCE is not None


def apart(a: int, b: int) -> int:
    return (a ^ b).bit_count()


def saved(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return open_picture(file.getvalue())


def resized(pixels: np.ndarray, scale: float) -> np.ndarray:
    height, width = pixels.shape[:2]
    return np.asarray(Image.fromarray(pixels).resize((round(width * scale), round(height * scale))))


def brighter(pixels: np.ndarray, gain: float, offset: float = 0) -> np.ndarray:
    return np.clip(np.round(pixels.astype(float) * gain + offset), 0, 255).astype(np.uint8)


CHANGES = {
    **{f"quality {quality}": lambda a, quality=quality: saved(a, quality) for quality in (30, 50, 75, 95)},
    **{f"size {scale}": lambda a, scale=scale: resized(a, scale) for scale in (0.5, 0.75, 1.5, 2)},
    **{f"light {gain}": lambda a, gain=gain: brighter(a, gain) for gain in (0.95, 1.05, 1.1)},
    "darker by 10": lambda a: brighter(a, 1, -10),
    "small, saved badly, brighter": lambda a: brighter(saved(resized(a, 0.5), 30), 1.05),
    "grey": lambda a: np.repeat(np.asarray(Image.fromarray(a).convert("L"))[..., None], 3, 2),
}


def pictures() -> list[np.ndarray]:
    """Different pictures: photos where there are any, else avatars of other people with other looks."""
    if PHOTOS.is_dir():
        return [open_picture(path) for path in sorted(PHOTOS.glob("*/*.jpg"))[::3]]
    return [render(person(i), look(100 + i), size=256).image for i in range(40)]


@pytest.fixture(scope="module")
def originals() -> list[np.ndarray]:
    return pictures()


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_near(change: str, originals: list[np.ndarray]) -> None:
    for pixels in originals[::4]:
        assert apart(perceptual_hash(pixels), perceptual_hash(CHANGES[change](pixels))) <= DISTANCE


def test_other_pictures_are_far(originals: list[np.ndarray]) -> None:
    """Of the same person, too: they lie in the same folder of LFW."""
    prints = [perceptual_hash(pixels) for pixels in originals]
    distances = [apart(a, b) for i, a in enumerate(prints) for b in prints[:i]]
    assert min(distances) > DISTANCE
    assert np.mean(distances) == pytest.approx(BITS / 2, abs=4)


def test_a_fingerprint_has_64_bits_and_does_not_depend_on_the_light() -> None:
    noise = np.random.default_rng(0).integers(60, 180, (50, 70, 3), np.uint8)
    assert 0 <= perceptual_hash(noise) < 1 << BITS
    assert perceptual_hash(noise).bit_count() == BITS // 2
    assert apart(perceptual_hash(noise), perceptual_hash(noise + 50)) <= 2
    assert apart(perceptual_hash(noise), perceptual_hash(255 - noise)) >= BITS - 2  # the negative has the other half
    assert perceptual_hash(np.full((9, 9, 3), 77, np.uint8)) == 0
    assert perceptual_hash(np.zeros((1, 1, 3), np.uint8)) == 0


def test_the_fingerprint_of_a_picture_is_what_it_was() -> None:
    """A change would make old datasets' fingerprints useless; computed from integers, it holds on every machine."""
    y, x = np.mgrid[:200, :300]
    pixels = np.stack([x * y % 251, (x * x + y) % 241, (x + y * y) // 3 % 256], -1).astype(np.uint8)
    assert f"{perceptual_hash(pixels):016x}" == "941c9c13a327e775"


# Groups


def clusters(seed: int, count: int, distance: int) -> list[int]:
    """Random prints, and around some of them others that are a few bits away."""
    rng = np.random.default_rng(seed)
    prints = [int(value) for value in rng.integers(0, 1 << BITS, count, dtype=np.uint64)]
    for index in range(0, count // 2, 3):
        flips = rng.choice(BITS, rng.integers(0, 2 * distance + 2), replace=False)
        prints[count - 1 - index] = prints[index] ^ sum(1 << int(bit) for bit in flips)
    return prints


@pytest.mark.parametrize("distance", [0, 1, 3, 4, 8, 16])
def test_all_near_pairs_are_found_and_no_others(distance: int) -> None:
    prints = clusters(distance, 300, distance)
    one, other = near_pairs(np.array(prints, np.uint64), distance)
    expected = {(i, j) for j in range(300) for i in range(j) if apart(prints[i], prints[j]) <= distance}
    assert len(one) == len(expected) > 0
    assert set(zip(one.tolist(), other.tolist(), strict=True)) == expected


def test_the_same_bytes_are_duplicates_at_any_distance() -> None:
    sha256, prints = ["a", "b", "a", "c", "b", "a"], [1, 2, 1, 3, 2, 1]
    assert groups(sha256, prints, None) == [[0, 2, 5], [1, 4]]
    assert groups(sha256, [0, (1 << 40) - 1, 0, (1 << 64) - 1, (1 << 40) - 1, 0], 4) == [[0, 2, 5], [1, 4]]
    assert groups(["a", "b", "c"], [5, 5, 5], None) == []
    assert groups(["a", "b", "c"], [5, 5, 4], 0) == [[0, 1]]
    assert groups([], [], 4) == []


def test_a_group_lies_around_its_middle() -> None:
    """A row of small changes: 0, 3, 6, 9 and 12 bits from the first."""
    row = [(1 << bits) - 1 for bits in (0, 3, 6, 9, 12)]
    names = list("abcde")
    assert groups(names, row, 2) == []
    assert groups(names[:3], row[:3], 3) == [[0, 1, 2]]  # the one in the middle is near both
    found = groups(names, row, 3)
    assert found == [[0, 1, 2], [3, 4]]
    assert groups(names, row, 6) == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("distance", [2, 4])
def test_groups_are_a_partition_with_a_centre_each(distance: int) -> None:
    prints = clusters(7, 400, distance)
    found = groups([str(i) for i in range(400)], prints, distance)
    members = [index for group in found for index in group]
    assert len(members) == len(set(members)) > 20
    for group in found:
        assert group == sorted(group)
        assert any(all(apart(prints[a], prints[b]) <= distance for b in group) for a in group)
    alone = sorted(set(range(400)) - set(members))
    assert not [1 for i in alone for j in alone if i < j and apart(prints[i], prints[j]) <= distance]


def test_groups_do_not_depend_on_the_order() -> None:
    prints = clusters(3, 300, 4)
    names = [str(i % 280) for i in range(300)]
    prints[280:] = prints[:20]  # the same bytes
    found = {frozenset(group) for group in groups(names, prints, 4)}
    order = np.random.default_rng(1).permutation(300)
    again = groups([names[i] for i in order], [prints[i] for i in order], 4)
    assert {frozenset(int(order[i]) for i in group) for group in again} == found


def test_many_pictures_are_no_trouble() -> None:
    """50,000 pictures are 1.2 billion pairs; 20,000 of one colour are one print."""
    rng = np.random.default_rng(0)
    prints = [int(value) for value in rng.integers(0, 1 << BITS, 30_000, dtype=np.uint64)] + [0] * 20_000
    prints[17] = prints[29_000] ^ 0b1111
    found = groups([str(i) for i in range(50_000)], prints, 4)
    assert found == [[17, 29_000], list(range(30_000, 50_000))]


def test_a_distance_that_cannot_be_searched_is_an_error() -> None:
    for distance in (-1, 17, 64):
        with pytest.raises(UserError, match=r"duplicates\.distance"):
            groups(["a"], [1], distance)


def test_the_best_stays_then_the_first_by_name() -> None:
    qualities, names = [0.5, 0.9, 0.9, 0.1], ["a", "c", "b", "0"]
    assert best([0, 1, 2, 3], qualities, names) == 2
    assert best([0, 1, 3], qualities, names) == 1
    assert best([3, 0], qualities, names) == 0

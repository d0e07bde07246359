"""Duplicates: files of the same bytes, and pictures that look alike (saved again, resized, a little brighter).

A picture's perceptual hash is of its low frequencies (Zauner 2010, "pHash"): 32 x 32 grey, cosine transform,
and of the 8 x 8 coefficients from the first above the mean on, which ones lie above their median. All of it
in integers: the same pixels give the same 64 bits on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from facefact.types import UserError

BITS = 64
MAX_DISTANCE = 16  # different photos begin at 10; beyond this the search would compare everything with everything

SIDE = 32
_X, _K = np.arange(SIDE), np.arange(1, 9)[:, None]  # without the mean along x or y: it is the light, not the scene
COSINES = np.round(4096 * np.cos(np.pi * (2 * _X + 1) * _K / (2 * SIDE))).astype(np.int64)


def perceptual_hash(pixels: np.ndarray) -> int:
    """(h, w, 3) uint8 -> 64 bits as an int in [0, 2^64). 32 of them are set, so distances are even; a picture of one
    colour gives 0."""
    grey = Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    waves = (COSINES @ np.asarray(grey, np.int64) @ COSINES.T).ravel()
    return int.from_bytes(np.packbits(waves > np.median(waves)).tobytes(), "big")


def groups(sha256: Sequence[str], hashes: Sequence[int], distance: int | None) -> list[list[int]]:
    """Indices of pictures that are duplicates of each other; every group has two or more, in rising order.

    Files of the same bytes are. So are, unless `distance` is None, pictures whose perceptual hashes differ by at most
    `distance` bits from the one in the middle of their group: the one with most pictures near it starts the first
    group and takes them all, then the next one that is free. Two of a group are never further apart than
    2 * `distance`, so that a row of small changes (a video) is cut into groups rather than chained into one. The
    groups do not depend on the order of the pictures. UserError: a distance beyond what can be searched.
    """
    if distance is not None and not 0 <= distance <= MAX_DISTANCE:
        raise UserError(f"settings duplicates.distance={distance}: bits from 0 to {MAX_DISTANCE} are possible, or null")
    hash_of: dict[str, int] = {}
    together: dict[str | int, list[int]] = {}
    for index, (digest, bits) in enumerate(zip(sha256, hashes, strict=True)):
        key = digest if distance is None else hash_of.setdefault(digest, bits)
        together.setdefault(key, []).append(index)
    found = list(together.values())
    if distance:
        stars = _stars(np.array(list(together), np.uint64), distance)
        found = [sorted(index for member in star for index in found[member]) for star in stars]
    return sorted(group for group in found if len(group) > 1)


def best(group: Sequence[int], qualities: Sequence[float], names: Sequence[str]) -> int:
    """The index of a group's picture that stays: the best, and of equally good ones the first by name."""
    return min(group, key=lambda index: (-qualities[index], names[index]))


def _stars(hashes: np.ndarray, distance: int) -> list[list[int]]:
    """(n,) different uint64 hashes -> groups around those with most others near them; each is in one of them."""
    one, other = near_pairs(hashes, distance)
    centres, near = np.concatenate([one, other]), np.concatenate([other, one])
    order = np.argsort(centres, kind="stable")
    near, start = near[order], np.searchsorted(centres[order], np.arange(len(hashes) + 1))
    free, stars = np.ones(len(hashes), bool), []
    for centre in np.lexsort((hashes, -np.diff(start))):  # ties by hash: no matter which came first
        if free[centre]:
            around = near[start[centre] : start[centre + 1]]
            star = [int(centre), *around[free[around]].tolist()]
            free[star] = False
            stars.append(star)
    return stars


def near_pairs(hashes: np.ndarray, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices i < j of all pairs of uint64 `hashes` that differ by at most `distance` bits, each pair once.

    The pigeonhole principle: of `distance` + 1 bands of bits, such a pair agrees in one. Only what agrees in a band is
    compared; neighbours in its order first, then next neighbours, as long as any agree.
    """
    pairs = [np.zeros(0, np.int64)]
    for band in range(distance + 1):
        mask = np.uint64(sum(1 << bit for bit in range(band, BITS, distance + 1)))
        order = np.argsort(hashes & mask, kind="stable")
        ranked = hashes[order]
        keys, left, step = ranked & mask, np.arange(len(hashes)), 1
        while True:
            left = left[left + step < len(hashes)]
            left = left[keys[left] == keys[left + step]]
            if not len(left):
                break
            hits = left[_count(ranked[left] ^ ranked[left + step]) <= distance]
            one, other = order[hits], order[hits + step]
            pairs.append(np.minimum(one, other) * len(hashes) + np.maximum(one, other))
            step += 1
    found = np.unique(np.concatenate(pairs))
    return found // max(len(hashes), 1), found % max(len(hashes), 1)


def _count(bits: np.ndarray) -> np.ndarray:
    """How many bits of each uint64 are set (numpy has `bitwise_count` from 2.0 on only)."""
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (bits * np.uint64(0x0101010101010101)) >> np.uint64(56)

"""An invisible mark in the pixels, which says that facefact made them, and survives what sharing does to a picture.

The published "DWT-DCT-SVD" method, of which two of three steps fall away when it is written down: of the blue-yellow
channel's coarse half (one level of the Haar wavelet) each block of 4x4 gets its largest singular value moved to the
middle of that half of a step which stands for its bit. A DCT turns a block without changing its singular values, so it
is left out, and a level of Haar whose fine parts stay as they are only adds the blocks' change to the pixels.

(Our own 60 lines, and not the package invisible-watermark: it is no longer maintained, wants an OpenCV that cannot be
beside the headless one, and puts the fine parts back in the wrong places, which costs 7 dB.)
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import cv2
import numpy as np

from facefact.types import UserError

METHOD = "facefact-svd-1"
# 64 bits, all of them known to the reader: there is no message, so that every bit is a check.
WORD = np.unpackbits(np.frombuffer(hashlib.sha256(METHOD.encode()).digest()[:8], np.uint8))
PERIOD = 8  # blocks; a tile of PERIOD x PERIOD blocks holds the word once
BLOCK = 8  # pixels of a block's side: 4 after the wavelet
STEP = 40.0  # of the singular value: 5 levels of the channel, of 255
LEAST_SIDE = 128  # pixels: below, a bit is written fewer than four times (docs/evidence/watermark.md)
BAND = 512  # rows that are marked at a time: whole tiles
READ = 2048  # pixels a side that are read straight; a larger picture holds the word more often than is needed
WINDOW = 512  # pixels of the part in which a mark is looked for that was moved
SCALES = (1.0, 2.0)  # by what a picture is enlarged to look for one: that of half the size it had
FALSE_ALARM = 1e-6  # of a whole search, in a picture without a mark


@dataclass(frozen=True)
class Mark:
    """What was read. agree: the share of the word's 64 bits that are right. found: so many by chance are rarer than
    FALSE_ALARM. moved: the picture was cropped or shrunk since it was marked."""

    found: bool
    agree: float
    moved: bool = False


def mark(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 RGB -> the same picture with the mark, about 41 dB from it. UserError: a side is less than
    LEAST_SIDE."""
    refuse_small(pixels.shape[1], pixels.shape[0])
    return np.concatenate([_marked_band(pixels[top : top + BAND]) for top in range(0, pixels.shape[0], BAND)])


def _marked_band(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 3): rows from a multiple of BAND on."""
    yuv = _yuv(pixels)
    left, values, right = np.linalg.svd(_blocks(yuv[..., 1]))
    bits = WORD[_places(values.shape[:2])]
    wanted = (values[..., 0] // STEP + 0.25 + 0.5 * bits) * STEP
    change = (wanted - values[..., 0])[..., None, None] * left[..., :, :1] * right[..., :1, :]
    rows, columns = change.shape[:2]
    coarse = change.transpose(0, 2, 1, 3).reshape(rows * 4, columns * 4)
    yuv[: rows * BLOCK, : columns * BLOCK, 1] += np.repeat(np.repeat(coarse, 2, 0), 2, 1) / 2
    marked = cv2.cvtColor(yuv / 255, cv2.COLOR_YUV2RGB) * 255
    return np.clip(np.rint(marked), 0, 255).astype(np.uint8)


def refuse_small(width: int, height: int) -> None:
    """UserError: pictures of so many pixels a side are not marked."""
    if min(height, width) < LEAST_SIDE:
        raise UserError(
            f"a picture of {width}x{height} is too small for the invisible mark: it wants {LEAST_SIDE} pixels a side"
        )


def agreement(pixels: np.ndarray) -> float:
    """The share of the word's bits that are read right in (h, w, 3) uint8 RGB where the mark was written; 0.5 is
    chance. 0 where there is no block for each bit."""
    votes = _tile(_yuv(pixels)[..., 1])
    return 0.0 if votes is None else float(((votes > 0).ravel() == WORD).mean())


def find_mark(pixels: np.ndarray) -> Mark:
    """Looks for the mark in (h, w, 3) uint8 RGB: where it was written; then, in the picture's middle, wherever a crop
    moved it to; then the same in one that was shrunk to half."""
    straight = agreement(pixels[:READ, :READ])
    if straight >= needed(1):
        return Mark(True, straight)
    for scale in SCALES:
        share = _searched(_yuv(_middle(pixels, scale))[..., 1])
        if share >= needed(len(SCALES) * BLOCK**2 * PERIOD**2):
            return Mark(True, share, moved=True)
    return Mark(False, straight)


def needed(tries: int) -> float:
    """The least share of right bits that so many tries in a picture without a mark reach by chance with a probability
    below half of FALSE_ALARM (the one straight try has the other half)."""
    chances = np.cumsum([math.comb(64, right) / 2**64 for right in range(64, -1, -1)])
    return float(65 - np.count_nonzero(chances * tries < FALSE_ALARM / 2)) / 64


def _searched(channel: np.ndarray) -> float:
    """The best share of right bits over all ways in which blocks and word may lie."""
    signs = 2.0 * WORD.reshape(PERIOD, PERIOD) - 1
    shifted = np.stack([np.roll(signs, (i, j), (0, 1)) for i in range(PERIOD) for j in range(PERIOD)])
    best = 0.0
    for top in range(BLOCK):
        for left in range(BLOCK):
            votes = _tile(channel[top:, left:])
            if votes is not None:
                best = max(best, float((shifted * votes > 0).mean((1, 2)).max()))
    return best


def _tile(channel: np.ndarray) -> np.ndarray | None:
    """(h, w) -> (PERIOD, PERIOD): by its sign which bit the blocks of each place say, taken together; None of a channel
    without a whole tile."""
    blocks = _blocks(channel)
    if min(blocks.shape[:2]) < PERIOD:
        return None
    phase = _largest_singular_value(blocks) / STEP
    says = -np.sin(2 * np.pi * phase)
    votes = np.bincount(_places(says.shape).ravel(), says.ravel(), PERIOD**2)
    return votes.reshape(PERIOD, PERIOD)


def _largest_singular_value(blocks: np.ndarray) -> np.ndarray:
    """(..., 4, 4) -> (...). By power iteration: a block is nearly flat, its second one is far below."""
    gram = blocks @ blocks.swapaxes(-1, -2)
    vector = gram.sum(-1, keepdims=True)
    for _ in range(2):
        vector = gram @ (vector / np.maximum(np.linalg.norm(vector, axis=-2, keepdims=True), 1e-9))
    return np.sqrt(np.linalg.norm(vector, axis=-2)[..., 0])


def _places(shape: tuple[int, ...]) -> np.ndarray:
    """(rows, columns) int: which bit of the word each block holds."""
    rows, columns = shape
    return (np.arange(rows)[:, None] % PERIOD) * PERIOD + np.arange(columns) % PERIOD


def _blocks(channel: np.ndarray) -> np.ndarray:
    """(h, w) -> (rows, columns, 4, 4): the coarse part of one level of the Haar wavelet, cut up; an edge is left."""
    rows, columns = channel.shape[0] // BLOCK, channel.shape[1] // BLOCK
    whole = channel[: rows * BLOCK, : columns * BLOCK]
    coarse = (whole[::2, ::2] + whole[1::2, ::2] + whole[::2, 1::2] + whole[1::2, 1::2]) / 2
    return coarse.reshape(rows, 4, columns, 4).transpose(0, 2, 1, 3)


def _yuv(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 RGB -> float32 YUV, each channel about 0..255."""
    return cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2YUV) * 255


def _middle(pixels: np.ndarray, scale: float) -> np.ndarray:
    """The middle of a picture, enlarged: at most WINDOW pixels a side then."""
    side = int(WINDOW / scale)
    top, left = (max(0, (size - side) // 2) for size in pixels.shape[:2])
    part = pixels[top : top + side, left : left + side]
    if scale == 1:
        return part
    return cv2.resize(np.ascontiguousarray(part), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)

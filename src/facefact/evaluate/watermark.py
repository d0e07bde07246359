"""How well the invisible mark survives what happens to pictures, and whether it is seen where none is."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facefact.faces import open_picture
from facefact.faces.files import pictures_below
from facefact.generate.watermark import agreement, find_mark, mark
from facefact.markdown import markdown_table
from facefact.types import UserError
from facefact.world import look, person, render

SIZES = (128, 256, 512)
Change = Callable[[np.ndarray], np.ndarray]


def jpeg(quality: int) -> Change:
    """With the colours at half the size, as most programs write them."""

    def change(pixels: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format="JPEG", quality=quality, subsampling="4:2:0")
        return np.asarray(Image.open(file))

    return change


def half(pixels: np.ndarray) -> np.ndarray:
    size = (pixels.shape[1] // 2, pixels.shape[0] // 2)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def half_and_back(pixels: np.ndarray) -> np.ndarray:
    size = (pixels.shape[1], pixels.shape[0])
    return np.asarray(Image.fromarray(half(pixels)).resize(size, Image.Resampling.BICUBIC))


def cropped(pixels: np.ndarray) -> np.ndarray:
    """Without an eighth of each side and some pixels more, which moves the blocks."""
    rows, columns = pixels.shape[0] // 8 + 3, pixels.shape[1] // 8 + 5
    return np.ascontiguousarray(pixels[rows:-rows, columns:-columns])


def brighter(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels * 1.1, 0, 255).astype(np.uint8)


def untouched(pixels: np.ndarray) -> np.ndarray:
    """As a PNG or a lossless WebP keeps it."""
    return pixels


# What is done, and whether the blocks lie where they lay, so that the bits can be read without looking for them.
CHANGES: dict[str, tuple[Change, bool]] = {
    "PNG": (untouched, True),
    "JPEG 95": (jpeg(95), True),
    "JPEG 80": (jpeg(80), True),
    "JPEG 60": (jpeg(60), True),
    "half the size and back": (half_and_back, True),
    "10 % brighter": (brighter, True),
    "half the size": (half, False),
    "cropped": (cropped, False),
    "cropped, then JPEG 80": (lambda pixels: jpeg(80)(cropped(pixels)), False),
}


def evaluate_watermark(
    *, photos: Path | None = None, count: int = 60, sizes: Sequence[int] = SIZES, progress: Callable[..., Any] = iter
) -> dict[str, Any]:
    """For each size the distance in dB, and for each change the share of right bits (mean, least) and of pictures in
    which the mark is found; and in how many pictures without a mark one is.

    photos: a folder of real photos, of which `count` are taken evenly, scaled to the size; as many renders of the world
    beside them. UserError: there are no pictures in it.
    """
    paths = pictures_below(photos) if photos else []
    if photos and not paths:
        raise UserError(f"{photos} has no pictures")
    chosen = [paths[i * len(paths) // count] for i in range(count)] if paths else []
    return {str(size): _measured(list(_pictures(chosen, count, size)), progress) for size in sizes}


def _pictures(photos: Sequence[Path], count: int, size: int) -> Iterator[np.ndarray]:
    for path in photos:
        photo = Image.fromarray(open_picture(path))
        side = min(photo.size)
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        square = photo.crop((left, top, left + side, top + side))
        yield np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))
    for seed in range(count):
        yield render(person(seed), look(seed), size=size).image


def _measured(pictures: Sequence[np.ndarray], progress: Callable[..., Any]) -> dict[str, Any]:
    distances, false = [], 0
    shares: dict[str, list[float]] = {name: [] for name in CHANGES}
    found = dict.fromkeys(CHANGES, 0)
    for picture in progress(pictures):
        marked = mark(picture)
        error = np.mean((marked.astype(float) - picture) ** 2)
        distances.append(10 * np.log10(255**2 / error))
        false += find_mark(picture).found
        for name, (change, in_place) in CHANGES.items():
            changed = change(marked)
            found[name] += find_mark(changed).found
            if in_place:
                shares[name].append(agreement(changed))
    changes = {
        name: {"found": found[name] / len(pictures)}
        | ({"bits": float(np.mean(share)), "least": float(np.min(share))} if share else {})
        for name, share in shares.items()
    }
    return {
        "pictures": len(pictures),
        "psnr_db": float(np.mean(distances)),
        "found_without_a_mark": false,
        "changes": changes,
    }


def watermark_table(figures: dict[str, Any]) -> str:
    """In Markdown: a row for each change, a column for each size."""
    head = ["", *(f"{size} px" for size in figures)]

    def cell(one: dict[str, float]) -> str:
        bits = f"{one['bits']:.3f} (least {one['least']:.2f}), " if "bits" in one else ""
        return f"{bits}found in {one['found']:.0%}"

    rows = [["distance from the picture", *(f"{one['psnr_db']:.1f} dB" for one in figures.values())]]
    rows += [[name, *(cell(one["changes"][name]) for one in figures.values())] for name in CHANGES]
    without = (f"found in {one['found_without_a_mark']} of {one['pictures']}" for one in figures.values())
    return markdown_table(head, [*rows, ["without a mark", *without]])

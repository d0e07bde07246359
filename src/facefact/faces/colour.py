"""Colour profiles: what detectors and models see is sRGB, and what is painted into a picture has the picture's own."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

MODES = ("RGB", "L", "CMYK", "LAB")  # those whose colours a profile can describe; others are made RGB first
ALIKE = 2  # levels of 255; a profile that moves no colour by more is sRGB by another name, and the pixels stay
BROKEN = "its colour profile is broken, or not for such a picture, and is ignored"


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str | None]:
    """A picture without alpha -> the same as RGB in sRGB, and what is to be noted (BROKEN), or None.

    profile: the ICC profile's bytes; without one RGB and grey count as sRGB already, and CMYK is mixed simply.
    """
    if image.mode not in MODES:
        image = image.convert("RGB")
    if image.mode != "LAB" and not profile:
        return image.convert("RGB"), None
    transform = _to_srgb(profile if image.mode != "LAB" else None, image.mode)
    if transform is None:
        return image.convert("RGB"), BROKEN
    if transform is SAME:
        return image.convert("RGB"), None
    if image.mode == "L":  # 256 values are looked up: littleCMS is exact, or fast
        table = np.asarray(ImageCms.applyTransform(_probe("L"), transform))[0]
        return Image.fromarray(table[np.asarray(image)]), None
    return ImageCms.applyTransform(image, transform), None  # type: ignore[return-value]  # None only if in place


def from_srgb(pixels: np.ndarray, profile: bytes | None, *, grey: bool = False) -> np.ndarray:
    """(h, w, 3) uint8 sRGB -> (h, w, 3) uint8 as a picture with that ICC profile stores it; grey: three times the one
    channel of a grey picture. A broken profile counts as none."""
    image, mode = Image.fromarray(pixels), "L" if grey else "RGB"
    transform = _from_srgb(profile, mode) if profile else None
    stored = image.convert(mode) if transform is None else ImageCms.applyTransform(image, transform)
    return np.array(stored.convert("RGB"))  # type: ignore[union-attr]  # as above


SAME = object()


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes | None, mode: str) -> Any:
    """The transform of pictures of a mode, SAME where it would change nothing, None where the profile is broken.
    profile: None for CIELAB."""
    try:
        source = ImageCms.createProfile("LAB") if profile is None else _opened(profile)
        exact = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", flags=exact)
        probe = _probe(mode)
        moved = np.asarray(ImageCms.applyTransform(probe, transform), int)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    same = mode in ("RGB", "L") and np.abs(moved - np.asarray(probe.convert("RGB"), int)).max() <= ALIKE
    return SAME if same else transform


@lru_cache(maxsize=16)
def _from_srgb(profile: bytes, mode: str) -> Any:
    """The transform of sRGB pictures into a mode with a profile; None where nothing is to be done or can be."""
    if _to_srgb(profile, mode) in (None, SAME):
        return None
    try:
        return ImageCms.buildTransform(ImageCms.createProfile("sRGB"), _opened(profile), "RGB", mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # a profile that can only be read
        return None


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.getOpenProfile(io.BytesIO(profile))


def _probe(mode: str) -> Image.Image:
    """All greys and a grid of colours."""
    if mode != "RGB":
        return (
            Image.fromarray(np.arange(256, dtype=np.uint8)[None]).convert("L" if mode == "L" else "RGB").convert(mode)
        )
    grid = np.linspace(0, 255, 18).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(grid, grid, grid), -1).reshape(18, -1, 3))

"""Which files are pictures: the one list of suffixes, and the one way to look into a folder for them."""

from __future__ import annotations

import importlib.util
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

HEIF = ("heic", "heif", "hif")  # read where pillow-heif is installed
JPEG_XL = ("jxl",)  # never read; listed so that somebody hears of them
SUFFIXES = (
    *("jpg", "jpeg", "png", "webp", "jfif", "jpe", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "jp2", "avif"),
    *HEIF,
    *JPEG_XL,
)
NOTHING = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx")  # what systems leave behind, beside hidden files
HEIF_MENDING = "pip install 'facefact[heif]', or save as JPEG or PNG"
JPEG_XL_MENDING = "save as JPEG or PNG"


def suffix_of(name: str) -> str:
    """What follows the last dot, in small letters; "" where there is none."""
    return name.rsplit(".", 1)[1].lower() if "." in name else ""


def is_picture(name: str) -> bool:
    """By its suffix."""
    return suffix_of(name) in SUFFIXES


def is_nothing(name: str) -> bool:
    """Whether a file or folder of this name is nobody's: hidden (`._me.jpg`, `.DS_Store`), or the system's."""
    return name.startswith(".") or name.lower() in NOTHING


def pictures_below(folder: Path) -> list[Path]:
    """The pictures at and below a folder, sorted; logs how many of them cannot be read (see `warn_of_unreadable`)."""
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if is_picture(path.name) and not any(map(is_nothing, path.relative_to(folder).parts)) and path.is_file()
    ]
    warn_of_unreadable(path.name for path in found)
    return found


def heif_is_here() -> bool:
    return importlib.util.find_spec("pillow_heif") is not None


def warn_of_unreadable(names: Iterable[str]) -> None:
    """Logs how many pictures, by their suffixes, nothing here can read, and how to mend it."""
    counts = Counter(map(suffix_of, names))
    heif, jpeg_xl = sum(counts[one] for one in HEIF), sum(counts[one] for one in JPEG_XL)
    if heif and not heif_is_here():
        log.warning("%d of %d pictures are HEIC and cannot be read: %s", heif, sum(counts.values()), HEIF_MENDING)
    if jpeg_xl:
        log.warning(
            "%d of %d pictures are JPEG XL and cannot be read: %s", jpeg_xl, sum(counts.values()), JPEG_XL_MENDING
        )

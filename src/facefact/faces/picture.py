"""Reading pictures. They come from anywhere, so a file is a claim: it is checked before it is decoded, and whatever a
decoder does with a bad one becomes one clear line."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageFile

from facefact.faces.colour import to_srgb
from facefact.faces.declared import profile_of
from facefact.faces.files import HEIF_MENDING, JPEG_XL_MENDING, heif_is_here
from facefact.types import UserError

log = logging.getLogger(__name__)

MAX_PIXELS = 120_000_000  # more than that (claimed by the header) is refused before anything is decoded
MAX_BYTES = 200_000_000
MAX_SIDE = 4096  # larger pictures are shrunk to this; a face in them is still far above the 112 px that are needed
NEARLY = (
    0.97  # of the longest side is enough of a JPEG: phones' 4000 and 4032 px at half, a quarter of the time for 2048
)
FORMATS = (
    "JPEG",
    "MPO",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "PPM",
    "JPEG2000",
    "AVIF",
    "HEIF",
)  # no EPS: it starts a program
ANIMATED = ("PNG", "WEBP", "GIF", "AVIF")  # further frames are time; in the others they are pages or a second eye

UPRIGHT = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

PictureLike = str | os.PathLike[str] | bytes | Image.Image | np.ndarray
Reason = Literal["unreadable", "empty", "not a picture", "damaged", "too many bytes", "too many pixels"]


class PictureError(UserError):
    """Why a picture cannot be had. reason: for counting. text: the line without the picture's name."""

    def __init__(self, name: str, reason: Reason, text: str) -> None:
        super().__init__(name, reason, text)  # all of them: an error must survive the way out of a worker process
        self.name, self.reason, self.text = name, reason, text

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


@dataclass(frozen=True)
class Picture:
    """pixels: (h, w, 3) uint8 sRGB, upright, shrunk to the longest side allowed. original: height and width before
    shrinking, upright. format: as PIL names it, None of what never was a file. animated: whether this is the first of
    several frames. turn: the EXIF orientation (1..8) that has been undone. note: what was ignored, in words."""

    pixels: np.ndarray
    original: tuple[int, int]
    format: str | None
    animated: bool
    turn: int = 1
    note: str | None = None


def open_picture(
    source: PictureLike,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    max_side: int = MAX_SIDE,
) -> np.ndarray:
    """A file, its bytes, a PIL image or an array -> (h, w, 3) uint8 sRGB as the picture is meant to be seen.

    EXIF orientation and the colours that the file declares (`declared.profile_of`; the log warns of a declaration that
    is broken) are applied, transparency laid over white, the first frame of several taken, 16 bit scaled to 8, a
    longest side above `max_side` shrunk to it (of a JPEG to 0.97 of it, where it can be decoded at half its size).
    Arrays: (h, w), (h, w, 1 | 3 | 4), uint8, uint16, bool, or float in [0, 1]. name: what messages call it, where it
    has no file's name. UserError: not there, not a picture, damaged, or more than `max_bytes` or `max_pixels`."""
    picture = read_picture(source, name=name, max_pixels=max_pixels, max_bytes=max_bytes, max_side=max_side)
    if picture.note:
        log.warning("%s: %s", name or name_of(source), picture.note)
    return picture.pixels


def name_of(source: PictureLike) -> str:
    """What messages call a picture that nobody named."""
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "the image")
    if isinstance(source, np.ndarray):
        return "the array"
    return "the bytes" if isinstance(source, bytes) else os.fspath(source)


def read_picture(
    source: PictureLike,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    max_side: int = MAX_SIDE,
) -> Picture:
    """As `open_picture`, with what else is known of the picture. Errors are PictureErrors (of arrays: UserErrors)."""
    name = name or name_of(source)
    if isinstance(source, Image.Image):
        return _read(source, name, max_pixels, max_side, ours=False)
    if isinstance(source, np.ndarray):
        return _read(_from_array(source), name, max_pixels, max_side, ours=True)
    if isinstance(source, bytes):
        image = _open_bytes(source, name, max_bytes)
    else:
        image = _open_file(Path(source), name, max_bytes)
    with image:
        return _read(image, name, max_pixels, max_side, ours=True)


def _read(image: Image.Image, name: str, max_pixels: int, max_side: int, *, ours: bool) -> Picture:
    """A lazy PIL image, decoded if its header claims what is allowed."""
    width, height = image.size
    if width * height > max_pixels:
        claim, limit = f"{width}x{height}", f"{max_pixels / 1e6:.0f} million"
        text = f"{claim} pixels are more than the {limit} allowed; shrink it"
        raise PictureError(name, "too many pixels", text)
    if width < 1 or height < 1:
        raise PictureError(name, "empty", "the picture is empty")
    try:
        with _strict():
            return _decode(image, max_side, ours=ours)
    except Exception as error:  # decoders fed with hostile files raise anything
        text = f"the picture is damaged and cannot be decoded ({_one_line(error)})"
        raise PictureError(name, "damaged", text) from error


@contextlib.contextmanager
def _strict() -> Iterator[None]:
    """No warnings (oddities in metadata, bombs, which are checked), and no half pictures, whatever others have set."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _open_file(path: Path, name: str, max_bytes: int) -> Image.Image:
    """The file's header as a lazy PIL image."""
    try:
        if path.is_dir():
            raise PictureError(name, "unreadable", "is a folder, not a picture")
        if not path.exists():
            raise PictureError(name, "unreadable", "there is no such file")
        if not path.is_file():
            raise PictureError(name, "unreadable", "is not a regular file")
        _check_size(path.stat().st_size, name, max_bytes)
        with open(path, "rb") as file:
            head = file.read(16)
    except UserError:
        raise
    except PermissionError as error:
        raise PictureError(name, "unreadable", "may not be read (permission denied)") from error
    except Exception as error:  # a name too long, with a zero byte, a disk that fails
        raise PictureError(name, "unreadable", f"cannot be read ({_one_line(error)})") from error
    return _open(path, name, head)


def _open_bytes(content: bytes, name: str, max_bytes: int) -> Image.Image:
    _check_size(len(content), name, max_bytes)
    return _open(io.BytesIO(content), name, content[:16])


def _check_size(size: int, name: str, max_bytes: int) -> None:
    if size == 0:
        raise PictureError(name, "empty", "the file is empty")
    if size > max_bytes:
        claim, limit = f"{size / 1e6:.0f} MB", f"{max_bytes / 1e6:.0f} MB"
        raise PictureError(name, "too many bytes", f"{claim} are more than the {limit} allowed; shrink it")


def _open(source: Path | io.BytesIO, name: str, head: bytes) -> Image.Image:
    """head: the first 16 bytes."""
    try:
        with _strict():
            _init()
            return Image.open(source, formats=[one for one in FORMATS if one in Image.OPEN])
    except Image.DecompressionBombError as error:
        text = "its header claims too many pixels; shrink it"
        raise PictureError(name, "too many pixels", text) from error
    except Exception as error:  # as above
        raise _why_not(name, head) from error


@lru_cache
def _init() -> None:
    """PIL's formats and, where pillow-heif is installed, HEIF."""
    Image.init()
    if heif_is_here():
        from pillow_heif import register_heif_opener

        register_heif_opener()


def _why_not(name: str, head: bytes) -> PictureError:
    claimed = _claimed_format(head)
    if claimed == "HEIF" and claimed not in Image.OPEN:
        return PictureError(name, "not a picture", f"HEIC pictures cannot be read: {HEIF_MENDING}")
    if claimed == "JPEG XL":
        return PictureError(name, "not a picture", f"JPEG XL pictures cannot be read: {JPEG_XL_MENDING}")
    if claimed in Image.OPEN:
        return PictureError(name, "damaged", f"begins as a {claimed} picture, and is damaged")
    kinds = "JPEG, PNG, WebP, TIFF, BMP, GIF and AVIF can"
    return PictureError(name, "not a picture", f"is not a picture that can be read ({kinds})")


def _claimed_format(head: bytes) -> str | None:
    """The format whose files begin like this. (BMP and PPM begin with two letters: too little to tell.)"""
    jpeg_xl = {b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL"}
    begins = {
        b"\xff\xd8\xff": "JPEG",
        b"\x89PNG\r\n": "PNG",
        b"GIF8": "GIF",
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
    } | jpeg_xl
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    if head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif", b"msf"):
        return "HEIF"
    return next((name for start, name in begins.items() if head.startswith(start)), None)


def _one_line(error: Exception) -> str:
    """Without addresses in memory: the same file gives the same line."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(error).split()))[:120] or type(error).__name__


def _decode(source: Image.Image, max_side: int, *, ours: bool) -> Picture:
    """Upright, RGB, shrunk, as an array. A picture that is not ours is left as it is."""
    image, (width, height), (profile, broken) = source, source.size, profile_of(source)
    if ours and image.format == "JPEG" and max(image.size) > max_side:
        scale = NEARLY * max_side / max(image.size)
        least = max(1, int(image.width * scale)), max(1, int(image.height * scale))
        image.draft(None, least)  # type: ignore[arg-type]  # decodes at 1/2, 1/4 or 1/8, not below that
    image.load()
    orientation = _orientation(image)
    image, note = _to_rgb(image, profile)
    if max(image.size) > max_side:
        scale = max_side / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.BOX)
    if orientation != 1:
        image = image.transpose(UPRIGHT[orientation])
    original = (width, height) if orientation >= 5 else (height, width)
    animated = ours and _animated(source)
    return Picture(np.array(image, np.uint8), original, source.format, animated, orientation, broken or note)


def _animated(image: Image.Image) -> bool:
    """Whether a picture, already decoded, has further frames. Damage there is no damage to the first one."""
    try:
        return image.format in ANIMATED and bool(getattr(image, "is_animated", False))
    except Exception:
        return False


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8 of a loaded picture; 1 where the metadata are damaged."""
    try:
        turn = int(image.getexif().get(0x0112, 1))
        return turn if turn in UPRIGHT else 1
    except Exception:  # metadata are as hostile as pixels, and the picture may be fine without them
        return 1


def _to_rgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str | None]:
    """Of any mode -> RGB in sRGB, transparency over white; and what is to be noted of its profile."""
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_eight_bit(np.asarray(image), sixteen=";16" in image.mode))
    if not has_alpha(image):
        return to_srgb(image, profile)
    image = image.convert("LA" if image.mode in ("L", "LA", "La") else "RGBA")
    alpha = image.getchannel("A")
    colours, note = to_srgb(image.convert(image.mode.removesuffix("A")), profile)
    colours.putalpha(alpha)
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, colours).convert("RGB"), note


def has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info


def _eight_bit(values: np.ndarray, *, sixteen: bool) -> np.ndarray:
    """(h, w) grey of more than 8 bit -> (h, w) uint8. Wide integers count as 16 bit when one of them is above
    255; floats as [0, 1] when none is above 1, else as [0, 255]."""
    floats = np.issubdtype(values.dtype, np.floating)
    values = np.nan_to_num(np.asarray(values, np.float32))
    top = values.max(initial=0)
    if floats:
        scale = 255.0 if top <= 1 else 1.0
    else:
        scale = 1 / 257 if sixteen or top > 255 else 1.0
    return np.clip(np.round(values * scale), 0, 255).astype(np.uint8)


def _from_array(array: np.ndarray) -> Image.Image:
    """Any accepted array, (h, w) or (h, w, 1, 3 or 4), as a PIL image. UserError: any other."""
    shape = array.shape
    if array.ndim == 3 and shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and shape[2] in (3, 4))) or 0 in shape:
        raise UserError(f"an array of shape {shape} is no picture: (h, w), (h, w, 3) or (h, w, 4) is")
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = np.round(array / 257.0).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise UserError("a float array is a picture when its values are in [0, 1]")
        array = np.round(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise UserError(f"an array of {array.dtype} is no picture: uint8, uint16, bool or float in [0, 1] is")
    return Image.fromarray(np.ascontiguousarray(array))

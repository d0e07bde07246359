"""Reading pictures. They come from anywhere, so a file is a claim: it is checked before it is decoded, and whatever a
decoder does with a bad one becomes one clear line."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from facefact.types import UserError

MAX_PIXELS = 120_000_000  # more than that (claimed by the header) is refused before anything is decoded
MAX_BYTES = 200_000_000
MAX_SIDE = 4096  # larger pictures are shrunk to this; a face in them is still far above the 112 px that are needed
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")  # no EPS: it starts a program
SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "jp2", "avif")

UPRIGHT = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

PictureLike = str | os.PathLike[str] | Image.Image | np.ndarray


def open_picture(
    source: PictureLike, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES, max_side: int = MAX_SIDE
) -> np.ndarray:
    """A file, a PIL image or an array -> (h, w, 3) uint8 RGB as the picture is meant to be seen.

    EXIF orientation is applied, transparency laid over white, the first frame of several taken, 16 bit scaled to 8, a
    longest side above `max_side` shrunk to it. Arrays: (h, w), (h, w, 1 | 3 | 4), uint8, uint16, bool, or float in [0,
    1]. UserError: not there, not a picture, damaged, or more than `max_bytes` or `max_pixels`."""
    ours = not isinstance(source, Image.Image)
    if isinstance(source, np.ndarray):
        image, name = _from_array(source), "the array"
    elif isinstance(source, Image.Image):
        image, name = source, getattr(source, "filename", "") or "the image"
    else:
        name = os.fspath(source)
        image = _open_file(Path(source), max_bytes)
    width, height = image.size
    if width * height > max_pixels:
        claim, limit = f"{width}x{height}", f"{max_pixels / 1e6:.0f} million"
        raise UserError(f"{name}: {claim} pixels are more than the {limit} allowed; shrink it")
    if width < 1 or height < 1:
        raise UserError(f"{name}: the picture is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities in metadata, bombs (checked above)
            return _decode(image, max_side, ours=ours)
    except Exception as error:  # decoders fed with hostile files raise anything
        raise UserError(f"{name}: the picture is damaged and cannot be decoded ({_one_line(error)})") from error


def _open_file(path: Path, max_bytes: int) -> Image.Image:
    """The file's header as a lazy PIL image."""
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder, not a picture")
        if not path.exists():
            raise UserError(f"{path}: there is no such file")
        if not path.is_file():
            raise UserError(f"{path}: is not a regular file")
        size = path.stat().st_size
        if size == 0:
            raise UserError(f"{path}: the file is empty")
        if size > max_bytes:
            claim, limit = f"{size / 1e6:.0f} MB", f"{max_bytes / 1e6:.0f} MB"
            raise UserError(f"{path}: {claim} are more than the {limit} allowed; shrink it")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.init()
            return Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: its header claims too many pixels; shrink it") from error
    except Exception as error:  # as above
        raise UserError(f"{path}: {_why_not(path, error)}") from error


def _why_not(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError:
        return f"cannot be read ({_one_line(error)})"
    if head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif"):
        return "HEIC pictures cannot be read; save it as JPEG or PNG"
    return "is not a picture that can be read (JPEG, PNG, WebP, TIFF, BMP, GIF and AVIF can)"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _decode(image: Image.Image, max_side: int, *, ours: bool) -> np.ndarray:
    """Upright, RGB, shrunk, as an array. A picture that is not ours is left as it is."""
    if ours and image.format == "JPEG" and max(image.size) > max_side:
        image.draft(None, (max_side, max_side))  # type: ignore[arg-type]  # decode at 1/2, 1/4, 1/8, not below max_side
    image.load()
    orientation = _orientation(image)
    image = _to_rgb(image)
    if max(image.size) > max_side:
        scale = max_side / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.BOX)
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    return np.array(image, np.uint8)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8 of a loaded picture; 1 where the metadata are damaged."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # metadata are as hostile as pixels, and the picture may be fine without them
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bit(np.asarray(image), sixteen=";16" in image.mode)).convert("RGB")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bit(values: np.ndarray, *, sixteen: bool) -> np.ndarray:
    """Grey of more than 8 bit -> uint8. Wide integers count as 16 bit when one of them is above 255; floats as [0, 1]
    when none is above 1, else as [0, 255]."""
    floats = np.issubdtype(values.dtype, np.floating)
    values = np.nan_to_num(np.asarray(values, np.float32))
    top = values.max(initial=0)
    if floats:
        scale = 255.0 if top <= 1 else 1.0
    else:
        scale = 1 / 257 if sixteen or top > 255 else 1.0
    return np.clip(np.round(values * scale), 0, 255).astype(np.uint8)


def _from_array(array: np.ndarray) -> Image.Image:
    """Any accepted array as a PIL image."""
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

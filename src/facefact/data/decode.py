"""The stage "decode": an input's bytes become a picture, or one of a few reasons why not.

Reasons: unreadable, empty, too many bytes (before anything is read), not a picture, too many pixels (before anything is
decoded), damaged, too small, animated.
"""

from __future__ import annotations

import hashlib

from facefact.data.description import one_line
from facefact.data.duplicates import perceptual_hash
from facefact.data.inputs import read_bytes
from facefact.data.prepare_config import DecodeSettings
from facefact.data.records import Decoded, Entry, Unfit
from facefact.faces.picture import Picture, PictureError, read_picture

STAGE = "decode"
GREY = 128  # what a JPEG decoder puts where the data are missing
MISSING = 1 / 16  # share of the picture that may be of this grey at its end


def decode(entry: Entry, settings: DecodeSettings) -> Decoded:
    """Upright 8-bit RGB, its longest side at most `max_side`. Unfit("decode", ...) with a reason from above, and
    nothing else, whatever the bytes are."""
    content = read_bytes(entry, max_bytes=settings.max_bytes)
    limit = len(content)  # `max_bytes` has been seen to
    try:
        picture = read_picture(content, max_bytes=limit, max_pixels=settings.max_pixels, max_side=settings.max_side)
    except PictureError as error:
        raise Unfit(STAGE, error.reason, one_line(error.text) or "") from error
    height, width = picture.original
    if min(height, width) < settings.min_side:
        raise Unfit(STAGE, "too small", f"{width}x{height} pixels: the shorter side is below {settings.min_side}")
    if picture.animated and settings.animated == "reject":
        raise Unfit(STAGE, "animated", f"the {picture.format} has several frames")
    if (missing := missing_share(picture)) > MISSING:
        raise Unfit(STAGE, "damaged", f"the last {missing:.0%} of it are the grey that stands for missing data")
    sha256 = hashlib.sha256(content).hexdigest()
    return Decoded(entry, picture.pixels, sha256, perceptual_hash(picture.pixels), picture.original)


def missing_share(picture: Picture) -> float:
    """Share of a JPEG, from its last line on, that is pure mid-grey, if it does not begin with such lines too.

    A JPEG whose data end early, but which was closed by a tool that did not look (or was decoded and saved again), is
    grey from there on. A grey frame around a picture is on both sides.
    """
    if picture.format not in ("JPEG", "MPO"):
        return 0.0
    rows = picture.pixels if picture.turn < 5 else picture.pixels.swapaxes(0, 1)  # the file's, wherever they are now
    if picture.turn in (1, 2, 5, 8):
        rows = rows[::-1]
    if not (rows[0] == GREY).all():
        return 0.0
    lines = (rows == GREY).all((1, 2))
    share = 1.0 if lines.all() else int(lines.argmin()) / len(lines)  # argmin: the first that is not grey
    return share if share == 1 or not lines[-1] else 0.0

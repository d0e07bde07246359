"""What a decoding process does with one upload: whatever it claims to be, pixels come out, written anew, or one line.

Names, types and metadata of what was sent count for nothing: the content says what it is, and only pixels are kept
(upright, in sRGB): no EXIF, no place, no profile, nothing behind the picture's end.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from facefact.apps.service.api.aside import Work, confined
from facefact.types import UserError

MEMORY = 3 << 30  # bytes: a picture of 40 million pixels in its widest form, a few times
MOST_CARD = 16 << 20  # bytes; one of 64 photos has 7
MANIFEST = b"jumdc2pa"  # the head of the box that Content Credentials lie in
FASTEST = 1  # of PNG's levels: the files are bytes on a disk nearby, and people wait


def open_decoder(limits: dict[str, int]) -> Work:
    """limits: `picture_bytes`, `picture_pixels` and `picture_side` of `service.Limits`."""
    import cv2
    import numpy  # noqa: F401
    from PIL import Image

    Image.init()
    cv2.setNumThreads(1)
    confined(MEMORY)

    def work(what: str, said: dict[str, Any], parts: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        try:
            return ROLES[what](parts[0], limits)
        except MemoryError:
            raise UserError("it needs more memory than there is for one picture; shrink it") from None

    return work


def face(content: bytes, limits: dict[str, int]) -> tuple[dict[str, Any], list[bytes]]:
    """A photo of a person: a PNG of at most `picture_side`. What begins as an identity card does is given back: those
    are read by the process that has PyTorch (`photos_work`)."""
    if begins_as_card(content):
        if len(content) > MOST_CARD:
            raise UserError(f"a card of more than {MOST_CARD >> 20} MiB is none")
        return {"suffix": ".safetensors"}, [content]
    pixels, about = read(content, limits, limits["picture_side"])
    return about, [as_png(pixels)]


def template(content: bytes, limits: dict[str, int]) -> tuple[dict[str, Any], list[bytes]]:
    """A picture to work on: at its full size, with its transparency."""
    pixels, about = read(content, limits, 1 << 30)
    alpha = alpha_of(content, pixels.shape[:2])
    return about, [as_png(pixels, alpha)]


def mask(content: bytes, limits: dict[str, int]) -> tuple[dict[str, Any], list[bytes]]:
    """Black and white: white is what may change."""
    pixels, about = read(content, limits, 1 << 30)
    return about, [as_png((pixels.mean(2) > 127.5).astype("uint8") * 255)]


def clear_mask(content: bytes, limits: dict[str, int]) -> tuple[dict[str, Any], list[bytes]]:
    """OpenAI's: what is transparent may change. UserError: nothing is."""
    pixels, about = read(content, limits, 1 << 30)
    alpha = alpha_of(content, pixels.shape[:2])
    if alpha is None or alpha.min() > 127:
        raise UserError("the mask has no transparent part: transparent is what may change")
    return about, [as_png((alpha < 128).astype("uint8") * 255)]


def lora(content: bytes, limits: dict[str, int]) -> tuple[dict[str, Any], list[bytes]]:
    """A whole safetensors file with entries that are called as a LoRA's are, as it is. UserError: it is another one."""
    from safetensors import SafetensorError, deserialize

    try:
        names = [name for name, _ in deserialize(content)]
    except SafetensorError:
        raise UserError(
            "it is not a whole .safetensors file; a .ckpt or .pt is a pickle, which is not opened"
        ) from None
    if not any("lora" in name.lower() for name in names):
        raise UserError("it is no LoRA: none of its entries is called as a LoRA's are")
    return {"suffix": ".safetensors"}, [content]


ROLES = {"face": face, "template": template, "mask": mask, "clear_mask": clear_mask, "lora": lora}


def read(content: bytes, limits: dict[str, int], side: int) -> tuple[Any, dict[str, Any]]:
    """(h, w, 3) uint8 sRGB, and what is known of it. UserError, without a name."""
    from facefact.faces.picture import PictureError, read_picture

    try:
        picture = read_picture(
            content, max_bytes=limits["picture_bytes"], max_pixels=limits["picture_pixels"], max_side=side
        )
    except PictureError as error:
        raise UserError(error.text) from None
    height, width = picture.original
    shape = {"width": width, "height": height}
    return picture.pixels, {"suffix": ".png", **shape, "format": picture.format, "manifest": MANIFEST in content}


def alpha_of(content: bytes, shape: tuple[int, ...]) -> Any:
    """(h, w) uint8, upright; None where there is none."""
    import numpy as np
    from PIL import Image, ImageOps

    from facefact.faces.picture import FORMATS, has_alpha

    formats = [one for one in FORMATS if one in Image.OPEN]
    with Image.open(io.BytesIO(content), formats=formats) as image:  # (it was decoded once before: `read`)
        if not has_alpha(image):
            return None
        image.load()
        upright = ImageOps.exif_transpose(image)
        alpha = np.asarray(upright.convert("RGBA").getchannel("A"))
    return alpha if alpha.shape == tuple(shape) else None


def as_png(pixels: Any, alpha: Any = None) -> bytes:
    from PIL import Image

    image, out = Image.fromarray(pixels), io.BytesIO()
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    image.save(out, format="PNG", compress_level=FASTEST)
    return out.getvalue()


def begins_as_card(content: bytes) -> bool:
    """As safetensors do: the length of a JSON object, and its first letter."""
    return len(content) > 16 and content[8:9] == b"{" and int.from_bytes(content[:8], "little") < len(content)

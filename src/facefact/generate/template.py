"""Pictures to work on: what is stored, what is seen, and a changed one in the same mode and with the same profile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from facefact.faces import open_picture
from facefact.faces.colour import from_srgb
from facefact.faces.declared import profile_of
from facefact.faces.picture import has_alpha


@dataclass(frozen=True)
class Template:
    """A picture to work on. colours: (h, w, 3) uint8 RGB as stored, upright; of a grey picture three equal channels.
    alpha: (h, w) uint8, or None.

    seen: (h, w, 3) uint8 sRGB, transparency laid over white: what detectors and the model look at. profile: the ICC
    profile that `colours` are meant in, None for sRGB. grey: whether the picture made of it is to be grey.
    """

    colours: np.ndarray
    alpha: np.ndarray | None
    seen: np.ndarray
    profile: bytes | None = None
    grey: bool = False

    def stored(self, patch: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 sRGB -> (h, w, 3) uint8 as `colours` are."""
        return from_srgb(patch, self.profile, grey=self.grey)

    def image(self, colours: np.ndarray) -> Image.Image:
        """New colours (h, w, 3) in the template's mode, with its alpha and its profile."""
        image = Image.fromarray(colours[..., 0] if self.grey else colours)
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        if self.profile:
            image.info["icc_profile"] = self.profile
        return image


def open_template(path: str | Path) -> Template:
    """A template at its full size, 8 bits per channel, mode and profile kept (colours that the file declares in
    another way get a profile that says the same). What PNG cannot hold (CMYK, CIELAB) becomes sRGB, a palette RGB.
    UserErrors as `open_picture`."""
    seen = open_picture(path, max_side=1 << 30)
    with Image.open(path) as image:
        (profile, _), upright = profile_of(image), ImageOps.exif_transpose(image)
    grey = upright.mode in ("1", "L", "LA", "La") or upright.mode.startswith(("I", "F"))
    if upright.mode in ("CMYK", "LAB") or upright.mode.startswith(("I", "F")):
        return Template(seen, None, seen, grey=grey)
    alpha = np.asarray(upright.convert("RGBA").getchannel("A")) if has_alpha(upright) else None
    rgb = upright.convert("RGBA") if alpha is not None else upright
    return Template(np.asarray(rgb.convert("RGB")), alpha, seen, profile, grey)

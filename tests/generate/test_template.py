from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from facefact.faces import open_picture
from facefact.generate import open_template
from inpainting import picture
from profiles import DISPLAY_P3, cicp, in_srgb, png


def test_a_template_keeps_what_is_stored(tmp_path: Path) -> None:
    rgba = picture(20, 30, 4)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    template = open_template(tmp_path / "a.png")
    assert template.alpha is not None
    np.testing.assert_array_equal(np.dstack([template.colours, template.alpha]), rgba)
    assert template.seen.shape == (20, 30, 3)
    Image.fromarray(rgba[..., :3]).save(tmp_path / "b.png")
    plain = open_template(tmp_path / "b.png")
    assert plain.alpha is None
    np.testing.assert_array_equal(plain.colours, rgba[..., :3])
    Image.fromarray(rgba[..., 0]).convert("P").save(tmp_path / "c.png", transparency=3)
    palette = open_template(tmp_path / "c.png")
    assert palette.alpha is not None
    assert set(np.unique(palette.alpha)) <= {0, 255}


def test_a_template_that_png_cannot_hold_becomes_srgb(tmp_path: Path) -> None:
    Image.fromarray(picture(20, 30)).convert("CMYK").save(tmp_path / "a.tif")
    template = open_template(tmp_path / "a.tif")
    np.testing.assert_array_equal(template.colours, open_picture(tmp_path / "a.tif"))
    assert template.image(template.colours).mode == "RGB"


def test_colours_declared_without_a_profile_look_the_same_afterwards(tmp_path: Path) -> None:
    stored = picture(20, 30)
    (tmp_path / "a.png").write_bytes(png(cicp(12, 13), pixels=stored))
    template = open_template(tmp_path / "a.png")
    right = in_srgb(stored, DISPLAY_P3, None)
    assert np.abs(template.seen - right).max() < 3
    image = template.image(template.colours)
    image.save(tmp_path / "b.png", icc_profile=image.info["icc_profile"])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png")), stored)
    np.testing.assert_array_equal(open_picture(tmp_path / "b.png"), template.seen)

"""What is seen is sRGB, whatever profile a picture brings; a broken profile is ignored, and that is said."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from facefact.faces import open_picture
from facefact.faces.colour import from_srgb
from profiles import ADOBE_GAMMA, ADOBE_RGB, DISPLAY_P3, SRGB, icc, in_srgb

WIDE = [(DISPLAY_P3, None), (ADOBE_RGB, ADOBE_GAMMA)]
SKIN = np.array([[[198, 150, 128], [224, 172, 150]], [[120, 80, 62], [128, 128, 128]]], np.uint8)


def colours() -> np.ndarray:
    """(8, 8, 3), skin among them."""
    return np.concatenate(
        [SKIN.repeat(2, 0), np.random.default_rng(0).integers(0, 256, (4, 2, 3), np.uint8)], 0
    ).repeat(4, 1)


@pytest.mark.parametrize(("primaries", "gamma"), WIDE)
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_a_wide_picture_is_seen_in_srgb(primaries: tuple, gamma: float | None, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(colours()).save(
        path, icc_profile=icc(primaries, gamma), **({"lossless": True} if suffix == "webp" else {})
    )
    right = in_srgb(colours(), primaries, gamma)
    assert np.abs(open_picture(path) - right).max() < 2
    assert np.abs(colours() - right).max() > 10, "which is not how it is stored"


def test_transparency_and_palette_keep_the_profile(tmp_path: Path) -> None:
    profile = icc(ADOBE_RGB, ADOBE_GAMMA)
    rgba = np.dstack([colours(), np.full((8, 8), 255, np.uint8)])
    rgba[4:, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png", icc_profile=profile)
    seen = open_picture(tmp_path / "a.png")
    assert np.abs(seen[:4] - in_srgb(colours()[:4], ADOBE_RGB, ADOBE_GAMMA)).max() < 2
    assert (seen[4:] == 255).all()
    flat = Image.new("RGB", (8, 8), (198, 150, 128))
    flat.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png", icc_profile=profile)
    stored = np.asarray(Image.open(tmp_path / "p.png").convert("RGB"))
    assert np.abs(open_picture(tmp_path / "p.png") - in_srgb(stored, ADOBE_RGB, ADOBE_GAMMA)).max() < 2


def test_a_grey_profile(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None].repeat(4, 0)
    Image.fromarray(ramp).save(tmp_path / "a.png", icc_profile=icc(SRGB, 1.8, grey=True))
    right = in_srgb(np.dstack([ramp] * 3), SRGB, 1.8)
    assert np.abs(open_picture(tmp_path / "a.png") - right).max() < 3
    assert np.abs(ramp[..., None] - right).max() > 15


def test_cielab(tmp_path: Path) -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    ImageCms.applyTransform(Image.fromarray(SKIN), to_lab).save(tmp_path / "a.tif")
    assert np.abs(open_picture(tmp_path / "a.tif").astype(int) - SKIN).max() < 4


def test_srgb_by_its_own_name_leaves_the_pixels_alone(tmp_path: Path) -> None:
    for name, profile in (
        ("a", icc(SRGB, None)),
        ("b", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
    ):
        Image.fromarray(colours()).save(tmp_path / f"{name}.png", icc_profile=profile)
        np.testing.assert_array_equal(open_picture(tmp_path / f"{name}.png"), colours())


@pytest.mark.parametrize("profile", [b"nonsense", icc(DISPLAY_P3, None)[:200], icc(SRGB, 1.8, grey=True)])
def test_a_broken_profile_is_ignored_with_a_note(
    profile: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.fromarray(colours()).save(tmp_path / "a.png", icc_profile=profile)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(open_picture(tmp_path / "a.png"), colours())
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'a.png'}: its colour profile is broken, or not for such a picture, and is ignored"
    ]


@pytest.mark.parametrize(("primaries", "gamma"), WIDE)
def test_what_is_painted_has_the_pictures_profile(primaries: tuple, gamma: float | None) -> None:
    stored = from_srgb(colours(), icc(primaries, gamma))
    assert np.abs(in_srgb(stored, primaries, gamma) - colours()).max() < 3
    np.testing.assert_array_equal(from_srgb(colours(), None), colours())
    grey = from_srgb(colours(), None, grey=True)
    assert (grey == grey[..., :1]).all()

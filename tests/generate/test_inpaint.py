from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from facefact.faces import face_from_landmarks, open_picture
from facefact.generate import InpaintSettings, Template, inpaint, open_template, save_portrait
from facefact.generate.inpaint import blend, face_region, repaint, work_square
from facefact.types import Face, UserError
from profiles import ADOBE_GAMMA, ADOBE_RGB, SRGB, icc
from tiny import tiny_adapter, tiny_pipeline

SETTINGS = InpaintSettings(prompt="a smile", seed=3, steps=4, strength=0.75)
POINTS = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)


def face_at(x: float, y: float, *, scale: float = 1.0) -> Face:
    """A frontal face whose 112 px crop lies at x, y."""
    return face_from_landmarks(POINTS * scale + (x, y))


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("corner", [(0, 0), (140, 60), (-30, -30), (250, 150)])
def test_the_square_lies_inside_the_picture_and_around_the_face(corner: tuple[int, int]) -> None:
    face = face_at(*corner)
    x, y, side = work_square(face, (300, 400, 3))
    assert 0 <= x <= x + side <= 400
    assert 0 <= y <= y + side <= 300
    x0, y0, x1, y1 = face.box
    assert side >= max(x1 - x0, y1 - y0)
    assert x <= max(x0, 0)
    assert min(x1, 400) <= x + side


def test_the_region_is_the_face_and_fades_to_exactly_0() -> None:
    face = face_at(100, 100)
    weight = face_region(face, (50, 50, 250))
    for px, py in POINTS + 50:
        assert weight[round(py), round(px)] > 0.95
    border = np.concatenate([weight[0], weight[-1], weight[:, 0], weight[:, -1]])
    assert (border == 0).all()
    moved = face_region(face, (40, 30, 250))
    np.testing.assert_array_equal(moved[20:, 10:], weight[:-20, :-10])


def test_an_oval_is_used_where_it_is_known() -> None:
    square = np.array([[120, 120], [180, 120], [180, 180], [120, 180]], np.float32)
    face = face_at(100, 100)
    face = Face(face.box, face.landmarks, 1.0, face.pose, oval=square)
    weight = face_region(face, (0, 0, 300))
    assert weight[150, 150] > 0.99
    assert weight[205, 150] == 0 < weight[185, 150]


def test_blend_is_linear_and_exact_where_the_weight_is_0() -> None:
    colours, patch = picture(4, 6), picture(4, 6)[::-1]
    weight = np.zeros((4, 6), np.float32)
    weight[:, 3:] = 0.25
    out = blend(colours, patch, weight)
    np.testing.assert_array_equal(out[:, :3], colours[:, :3])
    expected = 0.75 * colours[:, 3:].astype(float) + 0.25 * patch[:, 3:]
    np.testing.assert_allclose(out[:, 3:], expected, atol=0.5001)


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


@pytest.mark.parametrize(("in_channels", "latent_channels"), [(4, 4), (9, 4), (8, 8)])
def test_only_the_face_changes(in_channels: int, latent_channels: int) -> None:
    pipe = tiny_pipeline(in_channels=in_channels, latent_channels=latent_channels)
    adapter = tiny_adapter(pipe).attach(pipe)
    tokens = adapter.tokens(torch.zeros(1, 3, 112, 112))
    rgba = picture(300, 400, 4)
    template = Template(rgba[..., :3], rgba[..., 3], rgba[..., :3])
    face = face_at(200, 120, scale=0.8)
    steps: list[int] = []
    arguments: dict[str, Any] = {"template": template, "face": face, "on_step": lambda: steps.append(1)}
    one, again = (inpaint(pipe, adapter, tokens, SETTINGS, **arguments) for _ in range(2))
    out = np.asarray(one.image)
    np.testing.assert_array_equal(out, np.asarray(again.image))
    assert out.shape == rgba.shape
    x, y, side = square = work_square(face, rgba.shape)
    kept = np.ones((300, 400), bool)
    kept[y : y + side, x : x + side] = face_region(face, square) == 0
    np.testing.assert_array_equal(out[kept], rgba[kept])
    np.testing.assert_array_equal(out[..., 3], rgba[..., 3])
    assert (out[..., :3][~kept] != rgba[..., :3][~kept]).mean() > 0.5
    assert one.recipe["kind"] == "inpainting"
    assert one.recipe["square"] == list(square)
    assert steps


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_mode_and_profile_are_kept_and_the_rest_looks_as_before(mode: str, tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    adapter = tiny_adapter(pipe).attach(pipe)
    tokens = adapter.tokens(torch.zeros(1, 3, 112, 112))
    profile = icc(SRGB, 1.8, grey=True) if mode[0] == "L" else icc(ADOBE_RGB, ADOBE_GAMMA)
    stored = Image.fromarray(picture(300, 400, 4)).convert(mode)
    stored.save(tmp_path / "a.png", icc_profile=profile)
    template, face = open_template(tmp_path / "a.png"), face_at(200, 120, scale=0.8)
    portrait = inpaint(pipe, adapter, tokens, SETTINGS, template=template, face=face)
    save_portrait(portrait, tmp_path / "b.png")
    x, y, side = square = work_square(face, template.colours.shape)
    kept = np.ones((300, 400), bool)
    kept[y : y + side, x : x + side] = face_region(face, square) == 0
    with Image.open(tmp_path / "b.png") as out:
        assert (out.mode, out.info["icc_profile"]) == (mode, profile)
        np.testing.assert_array_equal(np.asarray(out)[kept], np.asarray(stored)[kept])
    seen = open_picture(tmp_path / "b.png")
    np.testing.assert_array_equal(seen[kept], template.seen[kept])
    assert (seen[~kept] != template.seen[~kept]).mean() > 0.3


def test_a_template_that_png_cannot_hold_becomes_srgb(tmp_path: Path) -> None:
    Image.fromarray(picture(20, 30)).convert("CMYK").save(tmp_path / "a.tif")
    template = open_template(tmp_path / "a.tif")
    np.testing.assert_array_equal(template.colours, open_picture(tmp_path / "a.tif"))
    assert template.image(template.colours).mode == "RGB"


def test_local_mode_knows_the_place_of_the_face(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tiny_pipeline(sample_size=16)
    adapter = tiny_adapter(pipe).attach(pipe)
    tokens = adapter.tokens(torch.zeros(1, 3, 112, 112))
    seen: list[int] = []
    for _, layer in adapter.layers.items():
        layer.ff.register_forward_hook(lambda module, args, y: seen.append(y.shape[1]))
    rgba = picture(300, 400, 4)
    arguments: dict[str, Any] = {
        "template": Template(rgba[..., :3], None, rgba[..., :3]),
        "face": face_at(200, 120, scale=0.5),
    }
    exact, local = (
        inpaint(pipe, adapter, tokens, replace(SETTINGS, local=local), **arguments) for local in (False, True)
    )
    assert max(seen) == 256
    assert max(seen[len(seen) // 2 :]) < 256 / 2, "in every step"
    assert not np.array_equal(np.asarray(exact.image), np.asarray(local.image))
    assert local.recipe["local"] is True


@pytest.mark.parametrize("wrong", [{"strength": 0.0}, {"strength": 1.1}, {"width": 64}, {"steps": 2, "strength": 0.3}])
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        InpaintSettings(prompt="", **wrong)


@pytest.mark.parametrize("name", ["PNDM", "DDIM", "EulerDiscrete", "DPMSolverMultistep"])
def test_what_the_mask_leaves_out_ends_as_the_image_itself(name: str) -> None:
    """With nothing to paint, the result is the image through the autoencoder, whatever the noise and the scheduler."""
    pipe = tiny_pipeline()
    pipe.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(pipe.scheduler.config)
    image = Image.fromarray(picture(64, 64))
    mask = Image.fromarray(np.zeros((64, 64), np.uint8))
    arguments = {"prompt": "x", "image": image, "num_inference_steps": 4, "strength": 0.8, "output_type": "pt"}
    out = repaint(pipe, arguments, mask=mask, seed=0, on_step=None).images
    with torch.no_grad():
        latents = pipe.vae.encode(pipe.image_processor.preprocess(image)).latent_dist.mode()
        expected = (pipe.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=0)

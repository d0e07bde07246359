from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facefact.faces import face_from_landmarks
from facefact.faces.align import TEMPLATE
from facefact.generate import InpaintSettings, Settings, Template, inpaint, text_to_image
from facefact.types import FaceTokens, UserError


@pytest.fixture
def tokens(adapter: Any) -> FaceTokens:
    return adapter.tokens(torch.zeros(1, 3, 112, 112))


def overflow(layer: torch.nn.Module) -> None:
    with torch.no_grad():
        layer.weight.copy_(layer.weight.sign() * 3e4)


def paint_over(pipe: Any, adapter: Any, tokens: FaceTokens) -> Any:
    pixels = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    settings = InpaintSettings(prompt="x", steps=2)
    face = face_from_landmarks(TEMPLATE + 15)
    return inpaint(pipe, adapter, tokens, settings, template=Template(pixels, None, pixels), face=face)


def test_an_autoencoder_that_overflows_makes_no_picture(pipe: Any, adapter: Any, tokens: FaceTokens) -> None:
    overflow(pipe.vae.decoder.conv_in)
    assert text_to_image(pipe, adapter, tokens, Settings(prompt="x", steps=1)).image  # fp32 is wide enough
    pipe.to(torch.float16)
    for make in (paint_over, lambda *parts: text_to_image(*parts, Settings(prompt="x", steps=1))):
        with pytest.raises(UserError, match=r"the autoencoder \(VAE\) .* in float16\. Take --dtype bf16"):
            make(pipe, adapter, tokens)
    assert not pipe.vae.decoder._forward_hooks


def test_a_unet_that_overflows_is_named(pipe: Any, adapter: Any, tokens: FaceTokens) -> None:
    overflow(pipe.unet.conv_out)
    pipe.to(torch.float16)
    with pytest.raises(UserError, match=r"the U-Net \(or what it reads\)"):
        text_to_image(pipe, adapter, tokens, Settings(prompt="x", steps=2))


def test_no_file_is_left(pipe: Any, adapter: Any, tmp_path: Path) -> None:
    from facefact.generate.jobs import make_portraits
    from facefact.generate.text_to_image import text_to_images

    overflow(pipe.vae.decoder.conv_in)
    pipe.to(torch.float16)
    tokens = adapter.tokens(torch.zeros(1, 3, 112, 112))
    pictures = {tmp_path / "a.png": Settings(prompt="x", steps=1)}
    with pytest.raises(UserError, match="no picture"):
        list(make_portraits(pictures, lambda wanted: text_to_images(pipe, adapter, tokens, wanted)))
    assert not list(tmp_path.iterdir())

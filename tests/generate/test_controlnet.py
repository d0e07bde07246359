"""ControlNets in text-to-image and inpainting: the control image is a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facefact.faces import face_from_landmarks
from facefact.generate import InpaintSettings, Settings, Template, inpaint, text_to_image
from facefact.generate.jobs import finished
from facefact.generate.recipe import save_portrait
from facefact.types import UserError
from tiny import tiny_adapter, tiny_pipeline

POINTS = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)
RGB = np.random.default_rng(0).integers(0, 256, (200, 240, 3), dtype=np.uint8)
FACE = face_from_landmarks(POINTS + (60, 40))


def with_controlnet(*, in_channels: int = 4, nets: int = 1) -> tuple[Any, Any, Any]:
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    base = tiny_pipeline(in_channels=in_channels)
    source = tiny_pipeline().unet
    net = ControlNetModel.from_unet(source, conditioning_embedding_out_channels=(4, 4, 4, 4))
    torch.nn.init.normal_(net.controlnet_mid_block.weight)
    torch.nn.init.normal_(net.controlnet_cond_embedding.conv_out.weight)
    parts: Any = net if nets == 1 else [net] * nets
    pipe = StableDiffusionControlNetPipeline(**base.components, controlnet=parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    adapter = tiny_adapter(pipe).attach(pipe)
    return pipe, adapter, adapter.tokens(torch.zeros(1, 3, 112, 112))


def control(seed: int = 0, size: tuple[int, int] = (64, 64)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_text_to_image() -> None:
    pipe, adapter, tokens = with_controlnet()

    def make(**changes: Any) -> np.ndarray:
        settings = Settings(**{"prompt": "x", "steps": 2, "control_image": control()} | changes)
        return np.asarray(text_to_image(pipe, adapter, tokens, settings).image)

    assert np.array_equal(make(), make())
    assert not np.array_equal(make(), make(control_image=control(1)))
    assert not np.array_equal(make(), make(control_scale=0.0))
    assert not np.array_equal(make(), make(scale=0.0))
    with pytest.raises(UserError, match="StableDiffusionControlNetPipeline needs a control image"):
        make(control_image=None)


def test_several_nets() -> None:
    pipe, adapter, tokens = with_controlnet(nets=2)
    settings = Settings(prompt="x", steps=2, control_image=[control(), control(1)])
    portrait = text_to_image(pipe, adapter, tokens, settings)
    assert len(set(portrait.recipe["control_image"])) == 2


def test_no_net_to_read_it() -> None:
    pipe = tiny_pipeline()
    adapter = tiny_adapter(pipe).attach(pipe)
    tokens = adapter.tokens(torch.zeros(1, 3, 112, 112))
    with pytest.raises(UserError, match="StableDiffusionPipeline has no ControlNet"):
        text_to_image(pipe, adapter, tokens, Settings(prompt="x", control_image=control()))


def test_the_recipe_names_the_control_image(tmp_path: Path) -> None:
    pipe, adapter, tokens = with_controlnet()
    settings = Settings(prompt="x", steps=1, control_image=control())
    portrait = text_to_image(pipe, adapter, tokens, settings)
    save_portrait(portrait, tmp_path / "a.png")
    assert finished({tmp_path / "a.png": settings}, {}) == {tmp_path / "a.png": portrait.recipe}
    assert "control_image" not in text_to_image(*base()).recipe


def base() -> tuple[Any, Any, Any, Settings]:
    pipe = tiny_pipeline()
    adapter = tiny_adapter(pipe).attach(pipe)
    return pipe, adapter, adapter.tokens(torch.zeros(1, 3, 112, 112)), Settings(prompt="x", steps=1)


@pytest.mark.parametrize("in_channels", [4, 9])
def test_inpainting(in_channels: int) -> None:
    pipe, adapter, tokens = with_controlnet(in_channels=in_channels)
    template = Template(RGB, None, RGB)

    def make(**changes: Any) -> np.ndarray:
        given = {"prompt": "x", "steps": 3, "control_image": control(size=(240, 200))} | changes
        portrait = inpaint(pipe, adapter, tokens, InpaintSettings(**given), template=template, face=FACE)
        return np.asarray(portrait.image)

    one = make()
    assert np.array_equal(one[0], RGB[0])
    assert not np.array_equal(one, RGB)
    assert not np.array_equal(one, make(control_image=control(1, (240, 200))))
    assert not np.array_equal(one, make(scale=0.0))
    with pytest.raises(UserError, match="needs a control image"):
        make(control_image=None)


def test_a_pipeline_that_cannot_repaint_is_named() -> None:
    from diffusers import StableDiffusionAdapterPipeline, T2IAdapter

    parts = tiny_pipeline().components
    del parts["image_encoder"]
    adapting = T2IAdapter(channels=[32, 64], num_res_blocks=1, downscale_factor=8)
    pipe = StableDiffusionAdapterPipeline(**parts, adapter=adapting, requires_safety_checker=False)
    adapter = tiny_adapter(pipe).attach(pipe)
    tokens = adapter.tokens(torch.zeros(1, 3, 112, 112))
    settings = InpaintSettings(prompt="x", steps=3)
    with pytest.raises(UserError, match="cannot repaint a picture with the parts of StableDiffusionAdapterPipeline"):
        inpaint(pipe, adapter, tokens, settings, template=Template(RGB, None, RGB), face=FACE)


def test_a_face_that_does_not_arrive_is_an_error_after_the_first_step() -> None:
    from diffusers import StableDiffusionPipeline

    class Dropping(StableDiffusionPipeline):
        def __call__(self, *args: Any, negative_prompt: Any = None, **options: Any) -> Any:
            return super().__call__(*args, **options | {"cross_attention_kwargs": None})

    steps: list[int] = []
    base = tiny_pipeline()
    pipe = Dropping(**base.components, requires_safety_checker=False)
    adapter = tiny_adapter(pipe).attach(pipe)
    tokens = adapter.tokens(torch.zeros(1, 3, 112, 112))
    with pytest.raises(UserError, match="Dropping did not hand the face on"):
        text_to_image(pipe, adapter, tokens, Settings(prompt="x", steps=3), on_step=lambda: steps.append(1))
    assert not steps
    text_to_image(pipe, adapter, tokens, Settings(prompt="x", steps=3, scale=0), on_step=lambda: steps.append(1))
    assert steps

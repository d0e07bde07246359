"""ControlNets in text-to-image and inpainting: the control image is a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hosts import make_adapter, make_host, make_tokens
from PIL import Image
from pipelines import made, pipelines

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


def opened(name: str) -> tuple[Any, Any, Any]:
    """A pipeline by its name, at tiny size, whose control net does something, with an adapter."""
    pipe = made(name, pipelines()[name])
    nets = [getattr(pipe, part) for part in ("controlnet", "adapter", "unet") if hasattr(pipe, part)]
    net = pipe.unet if "XS" in name else nets[0]  # ControlNet-XS is in its U-Net
    for parameter in (p for p in net.parameters() if not p.any()):
        torch.nn.init.normal_(parameter)  # they begin with zeros, so that a fresh net changes nothing
    if hasattr(net, "controlnet_cond_embedding"):
        net.controlnet_cond_embedding.conv_out.weight.data *= 100
    adapter = make_adapter(pipe).attach(pipe)
    return pipe, adapter, make_tokens(adapter)


def plain(colour: str) -> Image.Image:
    return Image.new("RGB", (64, 64), colour)


@pytest.mark.parametrize(
    "name",
    [
        "StableDiffusionAdapterPipeline",
        "StableDiffusionXLAdapterPipeline",
        "StableDiffusionControlNetPAGPipeline",
        "StableDiffusionXLControlNetPAGPipeline",
        "StableDiffusionXLControlNetUnionPipeline",
        "StableDiffusionControlNetXSPipeline",
    ],
)
def test_every_kind_of_control(name: str) -> None:
    pipe, adapter, tokens = opened(name)
    steps: list[int] = []

    def make(**changes: Any) -> np.ndarray:
        given = {"prompt": "x", "steps": 2, "width": 64, "height": 64, "control_image": plain("black")} | changes
        if "Union" in name:
            given = {"control_mode": 1} | given
        portrait = text_to_image(pipe, adapter, tokens, Settings(**given), on_step=lambda: steps.append(1))
        return np.asarray(portrait.image)

    one = make()
    assert len(steps) == 2
    assert not np.array_equal(one, make(scale=0.0))
    assert not np.array_equal(one, make(control_image=plain("white")))
    for wrong, message in (
        ({"control_image": None}, f"{name} needs a control image"),
        ({"control_image": "pose.png"}, "a control image is a str: give a PIL image"),
        ({"control_image": [plain("red")] * 2}, rf"{name} reads 1 control image\(s\), .* 2 are given"),
        ({"control_mode": 99}, "control_mode=0 to 5" if "Union" in name else "of one kind: leave control_mode out"),
    ):
        with pytest.raises(UserError, match=message):
            make(**wrong)


def test_several_t2i_adapters() -> None:
    from diffusers import MultiAdapter

    pipe, adapter, tokens = opened("StableDiffusionAdapterPipeline")
    pipe.adapter = MultiAdapter([pipe.adapter, opened("StableDiffusionAdapterPipeline")[0].adapter])

    def make(*colours: str, **changes: Any) -> np.ndarray:
        settings = Settings(prompt="x", steps=2, control_image=[plain(colour) for colour in colours], **changes)
        return np.asarray(text_to_image(pipe, adapter, tokens, settings).image)

    assert not np.array_equal(make("black", "black"), make("black", "white"))
    assert not np.array_equal(make("black", "black"), make("black", "black", control_scale=0.0))


@pytest.mark.parametrize("name", ["StableDiffusionImg2ImgPipeline", "StableDiffusionControlNetPAGInpaintPipeline"])
def test_a_pipeline_that_starts_from_a_picture(name: str) -> None:
    pipe, adapter, tokens = opened(name)
    with pytest.raises(UserError, match=f"{name} starts from a picture: use it with inpaint"):
        text_to_image(pipe, adapter, tokens, Settings(prompt="x"))


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
    check_inpainting(*with_controlnet(in_channels=in_channels))


@pytest.mark.parametrize(
    "name",
    [
        "StableDiffusionControlNetImg2ImgPipeline",
        "StableDiffusionControlNetInpaintPipeline",
        "StableDiffusionControlNetPAGPipeline",
        "StableDiffusionControlNetPAGInpaintPipeline",
        "StableDiffusionXLControlNetPAGImg2ImgPipeline",
        "StableDiffusionXLControlNetUnionInpaintPipeline",
    ],
)
def test_inpainting_with_every_kind(name: str) -> None:
    size = {"width": 64, "height": 64} | ({"control_mode": 1} if "Union" in name else {})
    check_inpainting(*opened(name), **size)


def test_inpainting_with_a_model_that_reads_masks_and_pag() -> None:
    import diffusers

    pipe, adapter, _ = with_controlnet(in_channels=9)
    adapter.detach()
    for name in ("StableDiffusionControlNetPAGPipeline", "StableDiffusionControlNetPAGInpaintPipeline"):
        parts = dict(pipe.components)
        other = getattr(diffusers, name)(**parts, requires_safety_checker=False)
        adapter = tiny_adapter(other).attach(other)
        check_inpainting(other, adapter, adapter.tokens(torch.zeros(1, 3, 112, 112)))
        adapter.detach()


def masked_xl(name: str) -> tuple[Any, Any, Any]:
    """A pipeline of SDXL whose U-Net is one for inpainting: it reads a mask and a masked picture, nine channels."""
    pipe, adapter, _ = opened(name)
    adapter.detach()
    other = type(pipe)(**pipe.components | {"unet": make_host("sdxl", in_channels=9)})
    adapter = make_adapter(other).attach(other)
    return other, adapter, make_tokens(adapter)


def test_inpainting_with_sdxl_that_reads_masks_and_control() -> None:
    check_inpainting(*masked_xl("StableDiffusionXLControlNetInpaintPipeline"), width=64, height=64)


def test_inpainting_with_sdxl_that_reads_masks() -> None:
    model = masked_xl("StableDiffusionXLInpaintPipeline")
    template = Template(RGB, None, RGB)

    def make(**changes: Any) -> np.ndarray:
        settings = InpaintSettings(**{"prompt": "x", "steps": 3, "width": 64, "height": 64} | changes)
        return np.asarray(inpaint(*model, settings, template=template, face=FACE).image)

    one = make()
    np.testing.assert_array_equal(one[0], RGB[0])
    assert not np.array_equal(one, RGB)
    assert not np.array_equal(one, make(scale=0.0))
    with pytest.raises(UserError, match="take --shape template, or its base"):
        make(shape="person")


def check_inpainting(pipe: Any, adapter: Any, tokens: Any, **options: Any) -> None:
    """Face and control image count; the rest of the template stays."""
    template = Template(RGB, None, RGB)
    black, white = (Image.new("RGB", (240, 200), colour) for colour in ("black", "white"))

    def make(**changes: Any) -> np.ndarray:
        given = {"prompt": "x", "steps": 3, "control_image": black} | options | changes
        portrait = inpaint(pipe, adapter, tokens, InpaintSettings(**given), template=template, face=FACE)
        return np.asarray(portrait.image)

    one = make()
    assert np.array_equal(one[0], RGB[0])
    assert not np.array_equal(one, RGB)
    assert not np.array_equal(one, make(control_image=white))
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

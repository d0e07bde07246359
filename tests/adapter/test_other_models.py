"""Models of the same blocks that are no Stable Diffusion U-Net: they serve all settings, or are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hosts import BLOCKS, HOSTS, make_adapter, make_host, make_tokens
from torch import Tensor

from facefact import FaceAdapter, UserError

Call = Callable[..., Tensor]


def pixart() -> tuple[Any, Call]:
    from diffusers import PixArtTransformer2DModel

    sizes = {"num_attention_heads": 2, "attention_head_dim": 8, "cross_attention_dim": 16, "caption_channels": 12}
    grid = {"num_layers": 2, "sample_size": 16, "patch_size": 2, "use_additional_conditions": False}
    model = PixArtTransformer2DModel(in_channels=4, out_channels=8, norm_num_groups=4, **sizes, **grid)

    def call(timestep: int = 500, **options: Any) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        latents = torch.randn((1, 4, 16, 16), generator=generator).repeat(2, 1, 1, 1)
        text = torch.randn((2, 7, 12), generator=generator)
        extra = {"resolution": None, "aspect_ratio": None}
        return model(latents, text, torch.tensor([timestep] * 2), added_cond_kwargs=extra, **options).sample

    return model, call


def motion() -> tuple[Any, Call]:
    from diffusers import MotionAdapter, UNetMotionModel

    layers = MotionAdapter(
        block_out_channels=(16, 32), motion_layers_per_block=1, motion_norm_num_groups=4, motion_num_attention_heads=2
    )
    model = UNetMotionModel.from_unet2d(make_host("sd15"), layers)
    return model, video(model, text_per_frame=True)


def text_to_video() -> tuple[Any, Call]:
    from diffusers import UNet3DConditionModel

    types = {
        "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
    }
    model = UNet3DConditionModel(**BLOCKS | HOSTS["sd15"] | {"attention_head_dim": 4} | types)
    return model, video(model)


def video(model: Any, *, text_per_frame: bool = False) -> Call:
    def call(timestep: int = 500, **options: Any) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        latents = torch.randn((1, 4, 3, 8, 8), generator=generator).repeat(2, 1, 1, 1, 1)
        text = torch.randn((2, 7, 12), generator=generator).repeat_interleave(3 if text_per_frame else 1, 0)
        return model(latents, timestep, encoder_hidden_states=text, **options).sample

    return call


@pytest.mark.parametrize("make", [pixart, motion, text_to_video])
@torch.no_grad()
def test_all_settings(make: Callable[[], tuple[Any, Call]]) -> None:
    torch.manual_seed(0)
    model, call = make()
    before = call()
    adapter = make_adapter(model.eval()).attach(model)
    tokens = make_tokens(adapter)

    def at(timestep: int = 500, **settings: Any) -> Tensor:
        return call(timestep, cross_attention_kwargs=adapter.condition(tokens, **settings))

    assert torch.equal(call(), before)
    assert torch.equal(at(scale=0.0), before)
    whole = at()
    assert not torch.allclose(whole, before, atol=1e-4)
    assert torch.equal(at(start=1.0), before)
    assert torch.equal(at(start=0.4), call(cross_attention_kwargs=adapter.condition(tokens))), "it has begun"
    assert torch.equal(at(end=0.4), before)
    with adapter.record() as increments:
        at()
    assert {one.block for one in increments} == set(adapter.layers.configs)
    mask = torch.zeros(16, 16)
    mask[:6, :6] = 1
    local = at(local=mask)
    assert not torch.allclose(local, before, atol=1e-4)
    assert not torch.allclose(local, whole, atol=1e-4)
    adapter.detach()
    assert torch.equal(call(), before)
    assert [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()] == [0] * len(
        list(model.modules())
    )


@torch.no_grad()
def test_controlnet_xs_takes_the_adapter_of_its_base(tmp_path: Path) -> None:
    """Its blocks have other names, and the control branch has blocks of its own."""
    from diffusers import ControlNetXSAdapter, UNetControlNetXSModel

    torch.manual_seed(0)
    types = {
        "down_block_types": ("CrossAttnDownBlock2D",) * 2,
        "up_block_types": ("CrossAttnUpBlock2D",) * 2,
        "layers_per_block": 2,
    }
    base = make_host("sd15", **types)
    small = {"conditioning_embedding_out_channels": (4, 4, 4, 4)}
    model = UNetControlNetXSModel.from_unet(base, ControlNetXSAdapter.from_unet(base, size_ratio=0.5, **small)).eval()
    make_adapter(base).save_pretrained(tmp_path)
    adapter = FaceAdapter.from_pretrained(tmp_path)
    assert adapter.layers.configs == make_adapter(model).layers.configs
    kwargs = adapter.attach(base).condition(make_tokens(adapter))
    latents, text = torch.randn(1, 4, 8, 8).repeat(2, 1, 1, 1), torch.randn(2, 7, 12)
    adapted = base(latents, 500, text, cross_attention_kwargs=kwargs).sample
    adapter.detach().attach(model)

    def call(**options: Any) -> Tensor:
        return model(latents, 500, text, controlnet_cond=torch.ones(2, 3, 64, 64), **options).sample

    tolerance = {"atol": 2e-4, "rtol": 0}  # diffusers' two models differ by as much without a face
    torch.testing.assert_close(call(apply_control=False), base(latents, 500, text).sample, **tolerance)
    torch.testing.assert_close(call(cross_attention_kwargs=kwargs, apply_control=False), adapted, **tolerance)
    before = call()
    with adapter.record() as increments:
        faced = call(cross_attention_kwargs=adapter.condition(make_tokens(adapter)))
    assert not torch.allclose(faced, before, atol=1e-3)
    assert {one.block for one in increments} == set(adapter.layers.configs)
    assert torch.equal(call(cross_attention_kwargs=adapter.condition(make_tokens(adapter), scale=0.0)), before)
    adapter.detach()
    assert torch.equal(call(), before)
    assert not any(hasattr(module, "fuser") for module in model.modules())


@torch.no_grad()
def test_past_the_hooks() -> None:
    model, _ = pixart()
    adapter = make_adapter(model.eval()).attach(model)
    kwargs = adapter.condition(make_tokens(adapter))
    extra = {"resolution": None, "aspect_ratio": None}
    call = (torch.zeros(2, 4, 16, 16), torch.zeros(2, 7, 12), torch.tensor([5, 5]))
    with pytest.raises(UserError, match=r"called by its forward\(\)"):
        model.forward(*call, added_cond_kwargs=extra, cross_attention_kwargs=kwargs)


def test_a_model_that_takes_no_kwargs() -> None:
    class Other(type(make_host())):  # type: ignore[misc]
        def forward(self, sample: Tensor, timestep: int, encoder_hidden_states: Tensor) -> Any:  # type: ignore[override]
            return super().forward(sample, timestep, encoder_hidden_states)

    host = make_host()
    host.__class__ = Other
    with pytest.raises(UserError, match="Other takes no cross_attention_kwargs: a face cannot reach its layers"):
        make_adapter(host).attach(host)

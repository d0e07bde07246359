"""What else people put on the same pipeline: LoRA, ControlNet, several images per prompt, another pipeline's
clothes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hosts import make_adapter, make_host, make_tokens, run
from PIL import Image

from facefact import UserError
from facefact.adapter import denoiser
from tiny import tiny_pipeline

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


def draw(pipe: Any, kwargs: dict[str, Any] | None = None, **changes: Any) -> np.ndarray:
    options = {"num_inference_steps": 2, "generator": torch.Generator().manual_seed(0), "output_type": "np"} | changes
    return pipe(options.pop("prompt", "a portrait"), cross_attention_kwargs=kwargs, **options).images


def add_lora(unet: Any) -> None:
    from peft import LoraConfig

    torch.manual_seed(5)
    unet.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=ATTENTION, init_lora_weights=False))


@pytest.mark.parametrize("lora_first", [True, False])
@torch.no_grad()
def test_lora(lora_first: bool) -> None:
    host = make_host()
    adapter = make_adapter(host)
    kwargs, expected_names = adapter.condition(make_tokens(adapter)), list(adapter.layers.state_dict())
    alone = run(adapter.attach(host).attached, cross_attention_kwargs=kwargs)
    if lora_first:
        adapter.detach()
    add_lora(host)
    adapter.attach(host)
    assert list(adapter.layers.state_dict()) == expected_names, "the LoRA did not reach our layers"
    assert not any("fuser" in name for name in host.state_dict())
    both = run(host, cross_attention_kwargs=kwargs)
    bare = run(host)
    assert (both - alone).abs().max() > 1e-4
    assert (both - bare).abs().max() > 1e-4
    scaled = run(host, cross_attention_kwargs=kwargs | {"scale": 0.0})
    torch.testing.assert_close(scaled, alone)
    adapter.detach()
    assert torch.equal(run(host), bare)


@torch.no_grad()
def test_orders_of_lora_and_adapter_agree() -> None:
    results = []
    for lora_first in (True, False):
        host = make_host()
        adapter = make_adapter(host)
        if not lora_first:
            adapter.attach(host)
        add_lora(host)
        adapter.attach(host)
        results.append(run(host, cross_attention_kwargs=adapter.condition(make_tokens(adapter))))
    assert torch.equal(*results)


def test_a_model_wrapped_by_peft() -> None:
    from peft import LoraConfig, get_peft_model

    host = make_host()
    wrapped = get_peft_model(host, LoraConfig(r=2, target_modules=ATTENTION))
    adapter = make_adapter(wrapped).attach(wrapped)
    assert adapter.attached is host is denoiser(wrapped)
    run(wrapped.get_base_model(), cross_attention_kwargs=adapter.condition(make_tokens(adapter)))


def test_stock_pipeline(pipe: Any) -> None:
    before = draw(pipe)
    adapter = make_adapter(pipe).attach(pipe)
    tokens = make_tokens(adapter)
    assert np.array_equal(draw(pipe), before)
    assert np.array_equal(draw(pipe, adapter.condition(tokens, scale=0.0)), before)
    adapted = draw(pipe, adapter.condition(tokens))
    assert not np.array_equal(adapted, before)
    # one person, several pictures of each prompt; the pipeline draws the noise of all pictures in one go
    generators = [torch.Generator().manual_seed(i) for i in (0, 1)]
    several = draw(pipe, adapter.condition(tokens), num_images_per_prompt=2, generator=generators)
    np.testing.assert_allclose(several[0], adapted[0], atol=1e-4)
    # no guidance: a positive batch
    unguided = draw(pipe, adapter.condition(tokens, guidance=False), guidance_scale=1.0)
    assert not np.array_equal(unguided, draw(pipe, guidance_scale=1.0))
    np.testing.assert_allclose(draw(pipe, adapter.condition(tokens), guidance_scale=1.0), unguided, atol=1e-4)
    adapter.detach()
    assert np.array_equal(draw(pipe), before)


def test_two_people_two_prompts(pipe: Any) -> None:
    adapter = make_adapter(pipe).attach(pipe)
    people = make_tokens(adapter, people=2)
    generators = [torch.Generator().manual_seed(i) for i in (0, 0, 1, 1)]
    images = draw(pipe, adapter.condition(people), prompt=["a", "b"], num_images_per_prompt=2, generator=generators)
    for i, prompt in enumerate("ab"):
        one = type(people)(face=people.face[i : i + 1], null=people.null[i : i + 1])
        generator = torch.Generator().manual_seed(i)
        alone = draw(pipe, adapter.condition(one), prompt=prompt, generator=generator)
        np.testing.assert_allclose(images[2 * i], alone[0], atol=1e-4)


def test_the_base_is_saved_without_the_adapter(pipe: Any, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    before = draw(pipe)
    make_adapter(pipe).attach(pipe)
    pipe.save_pretrained(tmp_path)
    again = StableDiffusionPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert np.array_equal(draw(again), before)


def test_another_pipeline_of_the_same_parts(pipe: Any) -> None:
    from diffusers import StableDiffusionImg2ImgPipeline

    adapter = make_adapter(pipe).attach(pipe)
    other = StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    adapter.attach(other)
    image = Image.new("RGB", (64, 64), "teal")
    options = {"image": image, "strength": 0.9}
    changed = draw(other, adapter.condition(make_tokens(adapter)), **options)
    assert not np.array_equal(changed, draw(other, **options))


def test_controlnet(pipe: Any) -> None:
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    adapter = make_adapter(pipe).attach(pipe)
    controlnet = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(4, 4, 4, 4))
    torch.nn.init.normal_(controlnet.controlnet_mid_block.weight)
    assert not any("fuser" in name for name, _ in controlnet.named_modules())
    both = StableDiffusionControlNetPipeline(**pipe.components, controlnet=controlnet, requires_safety_checker=False)
    both.set_progress_bar_config(disable=True)
    pose = Image.new("RGB", (64, 64), "white")
    adapted = draw(both, adapter.condition(make_tokens(adapter)), image=pose)
    zero = draw(both, adapter.condition(make_tokens(adapter), scale=0.0), image=pose)
    adapter.detach()
    base = draw(both, image=pose)
    assert np.array_equal(zero, base)
    assert not np.array_equal(adapted, base)


def test_inpainting() -> None:
    from diffusers import StableDiffusionInpaintPipeline

    pipe = tiny_pipeline(in_channels=9)
    inpaint = StableDiffusionInpaintPipeline(**pipe.components, requires_safety_checker=False)
    inpaint.set_progress_bar_config(disable=True)
    adapter = make_adapter(inpaint).attach(inpaint)
    options = {"image": Image.new("RGB", (64, 64), "teal"), "mask_image": Image.new("L", (64, 64), 255)}
    options |= {"height": 64, "width": 64}
    adapted = draw(inpaint, adapter.condition(make_tokens(adapter)), **options)
    zero = draw(inpaint, adapter.condition(make_tokens(adapter), scale=0.0), **options)
    adapter.detach()
    base = draw(inpaint, **options)
    assert np.array_equal(zero, base)
    assert not np.array_equal(adapted, base)


def sdxl_pipeline() -> Any:
    from diffusers import StableDiffusionXLPipeline
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    parts = tiny_pipeline().components
    config = CLIPTextConfig(**parts["text_encoder"].config.to_dict() | {"hidden_size": 12, "projection_dim": 10})
    pipe = StableDiffusionXLPipeline(
        vae=parts["vae"],
        text_encoder=CLIPTextModel(config),
        text_encoder_2=CLIPTextModelWithProjection(config),
        tokenizer=parts["tokenizer"],
        tokenizer_2=parts["tokenizer"],
        unet=make_host("sdxl"),
        scheduler=parts["scheduler"],
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_sdxl() -> None:
    pipe = sdxl_pipeline()
    adapter = make_adapter(pipe).attach(pipe)
    tokens = make_tokens(adapter)
    options = {"height": 64, "width": 64, "num_images_per_prompt": 2}
    adapted = draw(pipe, adapter.condition(tokens), **options)
    zero = draw(pipe, adapter.condition(tokens, scale=0.0), **options)
    adapter.detach()
    base = draw(pipe, **options)
    assert np.array_equal(zero, base)
    assert not np.array_equal(adapted, base)


def test_start_and_end_in_a_pipeline(pipe: Any) -> None:
    adapter = make_adapter(pipe).attach(pipe)
    tokens = make_tokens(adapter)
    base = draw(pipe, num_inference_steps=5)
    early = draw(pipe, adapter.condition(tokens, end=0.3), num_inference_steps=5)
    all_of_it = draw(pipe, adapter.condition(tokens, start=1e-9, end=1.0), num_inference_steps=5)
    late = draw(pipe, adapter.condition(tokens, start=0.6), num_inference_steps=5)
    never = draw(pipe, adapter.condition(tokens, start=1.0), num_inference_steps=5)
    at_once = draw(pipe, adapter.condition(tokens), num_inference_steps=5)
    assert np.array_equal(never, base)
    assert np.array_equal(all_of_it, at_once)
    assert not np.array_equal(early, base)
    assert not np.array_equal(early, at_once)
    for wrong in ({"start": 0.6, "end": 0.5}, {"start": -0.1}, {"end": 1.1}):
        with pytest.raises(UserError, match="0 <= start <= end <= 1"):
            adapter.condition(tokens, **wrong)
    assert 0 < np.abs(late - base).mean() < np.abs(at_once - base).mean()

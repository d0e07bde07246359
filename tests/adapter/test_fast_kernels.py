"""The base model's own attention by the adapter's kernel: on, off, and beside what others put there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention import FeedForward
from hosts import HOSTS, make_adapter, make_host, make_tokens, run
from test_companions import add_lora, draw

from facefact import UserError
from facefact.adapter import attention as kernels
from facefact.adapter import fast_kernels
from facefact.adapter.fast import FastAttnProcessor
from ip_adapter import ip_adapter_state


@pytest.fixture(autouse=True)
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Blocked attention whatever the processor and the size; collects the keys per call."""
    calls: list[int] = []
    monkeypatch.setattr(kernels, "CPU_PREFERS_BLOCKS", True)
    monkeypatch.setattr(kernels, "FEWEST_SCORES", 0)
    original = kernels.blocked

    def counted(q: Any, keys: Any, values: Any, **options: Any) -> Any:
        calls.append(sum(part.shape[1] for part in keys))
        return original(q, keys, values, **options)

    monkeypatch.setattr(kernels, "blocked", counted)
    return calls


def others(model: Any) -> int:
    """How many modules change besides the attention: feed-forward networks, linear layers, convolutions."""
    linears = [module for module in model.modules() if type(module) is torch.nn.Linear]
    return len(feed_forwards(model)) + len(linears) + len(convolutions(model))


def feed_forwards(model: Any) -> list[FeedForward]:
    return [module for module in model.modules() if isinstance(module, FeedForward)]


def convolutions(model: Any) -> list[torch.nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]


@pytest.mark.parametrize("kind", HOSTS)
@torch.no_grad()
def test_on_and_off(kind: str, blocks: list[int]) -> None:
    host = make_host(kind)
    before, processors = run(host), dict(host.attn_processors)
    assert not blocks
    count = fast_kernels(host)
    assert count == len(processors) + others(host)
    torch.testing.assert_close(run(host), before, atol=1e-5, rtol=1e-4)
    assert len(blocks) == len(processors)
    assert fast_kernels(host) == 0, "on already"
    assert fast_kernels(host, enable=False) == count
    assert all(host.attn_processors[name] is processor for name, processor in processors.items())
    assert torch.equal(run(host), before)
    assert all(conv.weight.stride(3) == 1 for conv in convolutions(host))
    assert fast_kernels(host, enable=False) == 0


@torch.no_grad()
def test_beside_adapter_and_lora(blocks: list[int]) -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    add_lora(host)
    kwargs = adapter.condition(make_tokens(adapter)) | {"scale": 0.5}
    expected = run(host, cross_attention_kwargs=kwargs)
    fast_kernels(host)
    torch.testing.assert_close(run(host, cross_attention_kwargs=kwargs), expected, atol=1e-5, rtol=1e-4)
    adapter.detach()
    assert fast_kernels(host, enable=False)


def test_gradients_take_the_kernel_that_has_them(blocks: list[int]) -> None:
    host = make_host()
    fast_kernels(host)
    run(host).square().mean().backward()
    assert not blocks
    assert all(p.grad is not None for name, p in host.named_parameters() if "attn" in name)


@torch.no_grad()
def test_a_mask_is_left_to_the_processor_before(blocks: list[int]) -> None:
    host = make_host()
    options = {"encoder_attention_mask": torch.tensor([[1, 1, 1, 0, 0, 0, 0]] * 2)}
    before = run(host, **options)
    fast_kernels(host)
    blocks.clear()
    torch.testing.assert_close(run(host, **options), before)
    assert 7 not in blocks


@torch.no_grad()
def test_foreign_processors_stay() -> None:
    host = make_host()
    host.set_attention_slice(1)
    sliced = dict(host.attn_processors)
    assert fast_kernels(host) == others(host)
    assert all(host.attn_processors[name] is processor for name, processor in sliced.items())
    host = make_host()
    host.fuse_qkv_projections()
    assert fast_kernels(host) == others(host)
    host.unfuse_qkv_projections()
    fast_kernels(host)
    assert all(conv.weight.stride(3) == conv.in_channels for conv in convolutions(host))
    host.fuse_qkv_projections()
    fused = dict(host.attn_processors)
    assert fast_kernels(host, enable=False) > 0
    assert all(host.attn_processors[name] is processor for name, processor in fused.items())


@pytest.mark.parametrize("fast_first", [True, False])
@torch.no_grad()
def test_ip_adapter(fast_first: bool, blocks: list[int]) -> None:
    def call(host: Any, **kwargs: Any) -> torch.Tensor:
        return run(host, added_cond_kwargs={"image_embeds": [torch.ones(2, 1, 10)]}, **kwargs)

    plain = make_host()
    plain._load_ip_adapter_weights([ip_adapter_state(plain)])
    expected, kinds = call(plain), [type(p) for p in plain.attn_processors.values()]
    host = make_host()
    if fast_first:
        fast_kernels(host)
    host._load_ip_adapter_weights([ip_adapter_state(host)])
    fast_kernels(host)
    blocks.clear()
    torch.testing.assert_close(call(host), expected, atol=1e-5, rtol=1e-4)
    assert len(blocks) == sum(isinstance(p, FastAttnProcessor) for p in host.attn_processors.values()) == len(kinds) / 2
    fast_kernels(host, enable=False)
    assert [type(p) for p in host.attn_processors.values()] == kinds
    assert torch.equal(call(host), expected)


@torch.no_grad()
def test_a_pipeline_and_its_controlnet(pipe: Any, tmp_path: Path) -> None:
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
    from PIL import Image

    controlnet = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(4, 4, 4, 4))
    torch.nn.init.normal_(controlnet.controlnet_mid_block.weight)
    both = StableDiffusionControlNetPipeline(**pipe.components, controlnet=controlnet, requires_safety_checker=False)
    both.set_progress_bar_config(disable=True)
    adapter = make_adapter(both).attach(both)
    options = {"kwargs": adapter.condition(make_tokens(adapter)), "image": Image.new("RGB", (64, 64), "white")}
    expected = draw(both, **options)
    attentions = len(pipe.unet.attn_processors) + len(controlnet.attn_processors)
    assert fast_kernels(both) == attentions + others(pipe.unet) + others(controlnet)
    np.testing.assert_allclose(draw(both, **options), expected, atol=1e-3)
    pipe.unet.save_pretrained(tmp_path)
    assert fast_kernels(both, enable=False)
    assert np.array_equal(draw(both, **options), expected)


def test_what_has_no_attention() -> None:
    with pytest.raises(UserError, match="neither a diffusers pipeline"):
        fast_kernels("runwayml/stable-diffusion")
    assert fast_kernels(torch.nn.LayerNorm(1)) == 0


@torch.no_grad()
def test_feed_forward_is_stock_again_where_the_weights_are_not_bare() -> None:
    """A LoRA on its projection, or weights that a hook brings (offloading), are reached through the module only."""
    from peft import LoraConfig

    host = make_host()
    fast_kernels(host)
    host.add_adapter(LoraConfig(r=2, target_modules=["ff.net.0.proj"], init_lora_weights=False))
    fast = run(host)
    fast_kernels(host, enable=False)
    torch.testing.assert_close(fast, run(host), atol=1e-5, rtol=1e-4)

    host = make_host()
    expected = run(host)
    fast_kernels(host)
    proj = feed_forwards(host)[0].net[0].proj
    weight, seen = proj.weight.data.clone(), []

    def bring(module: Any, args: Any) -> None:
        seen.append(module)
        module.weight.data = weight

    proj.register_forward_pre_hook(bring)
    proj.weight.data = torch.zeros_like(weight)
    torch.testing.assert_close(run(host), expected, atol=1e-5, rtol=1e-4)
    assert seen

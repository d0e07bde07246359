"""Attaching and taking off: exact, loud when it cannot be, and unseen by everything else that touches the host."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hosts import HOSTS, anatomy, make_adapter, make_host, make_tokens, run

from facefact import FaceAdapter, UserError
from tiny import tiny_pipeline


@pytest.mark.parametrize("kind", HOSTS)
@torch.no_grad()
def test_there_and_back_again(kind: str) -> None:
    host = make_host(kind)
    before, shape, keys = run(host), anatomy(host), list(host.state_dict())
    adapter = make_adapter(host)
    tokens = make_tokens(adapter)
    assert adapter.attach(host) is adapter
    assert adapter.attached is host
    assert list(host.state_dict()) == keys, "the base's state dict stays the base's"
    assert torch.equal(run(host), before), "without a condition it is the base model"
    assert not torch.allclose(run(host, cross_attention_kwargs=adapter.condition(tokens)), before, atol=1e-3)
    for zero in (0, 0.0, torch.tensor(0.0), {"": 0.0}, torch.zeros(2)):
        assert torch.equal(run(host, cross_attention_kwargs=adapter.condition(tokens, scale=zero)), before)
    assert adapter.detach() is adapter
    assert adapter.attached is None
    assert torch.equal(run(host), before)
    assert anatomy(host) == shape
    assert not hasattr(host, "position_net")
    adapter.detach()  # again: nothing happens


@torch.no_grad()
def test_closed_gates_change_nothing() -> None:
    host = make_host()
    before = run(host)
    adapter = make_adapter(host, gate=0.0).attach(host)
    assert torch.equal(run(host, cross_attention_kwargs=adapter.condition(make_tokens(adapter))), before)


@torch.no_grad()
def test_guidance_halves() -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    tokens = make_tokens(adapter)
    both = run(host, batch=6, cross_attention_kwargs=adapter.condition(tokens, scale=0.8))
    positive = run(host, batch=1, cross_attention_kwargs=adapter.condition(tokens, scale=0.8, guidance=False))
    null = type(tokens)(face=tokens.null, null=tokens.null)
    negative = run(host, batch=1, cross_attention_kwargs=adapter.condition(null, scale=0.8, guidance=False))
    assert (positive - negative).abs().max() > 1e-3
    torch.testing.assert_close(both, torch.cat([negative.expand(3, -1, -1, -1), positive.expand(3, -1, -1, -1)]))
    alone = run(host, batch=1, cross_attention_kwargs=adapter.condition(tokens, scale=0.8))
    torch.testing.assert_close(alone, positive)  # without guidance it is the face


@torch.no_grad()
def test_several_people_in_one_batch() -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    people = make_tokens(adapter, people=2)
    both = run(host, batch=8, cross_attention_kwargs=adapter.condition(people))
    for i in range(2):
        one = type(people)(face=people.face[i : i + 1], null=people.null[i : i + 1])
        alone = run(host, batch=2, cross_attention_kwargs=adapter.condition(one))
        torch.testing.assert_close(both[[2 * i, 2 * i + 1, 4 + 2 * i, 5 + 2 * i]], alone[[0, 0, 1, 1]])


@torch.no_grad()
def test_scale_by_block() -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    tokens = make_tokens(adapter)

    def at(scale: Any) -> torch.Tensor:
        return run(host, cross_attention_kwargs=adapter.condition(tokens, scale=scale))

    assert torch.equal(at({"": 0.3}), at(0.3))
    assert torch.equal(at({"mid_block": 0.3, "up_blocks": 0.3, "down_blocks.0": 0.3}), at(0.3))
    mid = at({"mid_block": 1.0})
    assert not torch.equal(mid, at(0.0))
    assert not torch.equal(mid, at({"mid_block": 1.0, "": 0.1}))
    with pytest.raises(UserError, match="scale names mid, and no layer"):
        adapter.condition(tokens, scale={"mid": 1.0})


@torch.no_grad()
def test_delayed_condition() -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    kwargs = adapter.condition(make_tokens(adapter), start=0.2)
    for timestep in (999, torch.tensor(801), torch.tensor([801, 801])):
        assert torch.equal(run(host, timestep=timestep, cross_attention_kwargs=kwargs), run(host, timestep=timestep)), (
            "before the start it is the base model"
        )
    now = adapter.condition(make_tokens(adapter))
    assert torch.equal(
        run(host, timestep=800, cross_attention_kwargs=kwargs), run(host, timestep=800, cross_attention_kwargs=now)
    )


def test_a_second_adapter_is_refused() -> None:
    host = make_host()
    first = make_adapter(host).attach(host)
    with pytest.raises(UserError, match="has a face adapter already"):
        make_adapter(host).attach(host)
    assert first.attach(host) is first, "the same one again is no change"
    with pytest.raises(UserError, match="attached to another"):
        first.attach(make_host())
    first.detach()
    make_adapter(host).attach(host)


def test_another_base_is_refused_by_name() -> None:
    adapter = make_adapter(make_host())
    for kind, changes, message in (
        ("sdxl", {}, r"it has a layer for down_blocks\.0\.attentions\.0\.\S+, which this UNet2DConditionModel lacks"),
        ("sd15", {"layers_per_block": 2}, r"it has no layer for down_blocks\.0\.attentions\.1\."),
        (
            "sd15",
            {"block_out_channels": (24, 32)},
            r"at down_blocks\.0\.attentions\.0\.\S+ its width is 16, the model's is 24",
        ),
        ("sd15", {"cross_attention_dim": 20}, r"its text width is 12, the model's is 20"),
        ("sd15", {"attention_head_dim": 4}, r"its number of heads is 2, the model's is 4"),
    ):
        host = make_host(kind, **changes)
        before = anatomy(host)
        with pytest.raises(UserError, match=message) as caught:
            adapter.attach(host)
        assert "\n" not in str(caught.value)
        assert anatomy(host) == before
        assert adapter.attached is None


def test_hosts_without_a_place_are_refused() -> None:
    from diffusers import UNet2DModel

    adapter = make_adapter(make_host())
    plain = UNet2DModel(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )
    with pytest.raises(UserError, match="UNet2DModel has no transformer block that reads text"):
        adapter.attach(plain)
    with pytest.raises(UserError, match="str is neither a diffusers pipeline with a U-Net nor a model"):
        adapter.attach("runwayml/stable-diffusion")
    with pytest.raises(UserError, match="is a GLIGEN model"):
        adapter.attach(make_host("sd15", attention_type="gated"))


@torch.no_grad()
def test_a_pipeline_that_takes_no_face_is_refused_its_model_alone_is_not() -> None:
    from diffusers import SemanticStableDiffusionPipeline, StableDiffusionPipeline, UNet2DConditionModel

    parts = tiny_pipeline().components
    del parts["image_encoder"]
    pipe = SemanticStableDiffusionPipeline(**parts, requires_safety_checker=False)
    adapter = make_adapter(pipe)
    with pytest.raises(UserError, match="the call of SemanticStableDiffusionPipeline takes no cross_attention_kwargs"):
        adapter.attach(pipe)
    assert adapter.attach(pipe.unet).attached is pipe.unet
    before = run(pipe.unet)
    assert not torch.equal(run(pipe.unet, cross_attention_kwargs=adapter.condition(make_tokens(adapter))), before)
    gligen = UNet2DConditionModel(**dict(pipe.unet.config) | {"attention_type": "gated"})
    with pytest.raises(UserError, match="this UNet2DConditionModel of StableDiffusionPipeline is a GLIGEN model"):
        make_adapter(gligen).attach(StableDiffusionPipeline(**parts | {"unet": gligen}, requires_safety_checker=False))


@torch.no_grad()
def test_boxes_of_gligen_in_the_place_of_a_face() -> None:
    host = make_host()
    make_adapter(host).attach(host)
    boxes = {"boxes": torch.zeros(2, 1, 4), "masks": torch.ones(2, 1)}
    with pytest.raises(UserError, match="this call puts GLIGEN's boxes and masks in the place of the face: take"):
        run(host, cross_attention_kwargs={"gligen": boxes})


@torch.no_grad()
def test_heads_of_a_published_file_are_the_hosts() -> None:
    """A file that does not say how many heads: each host's own count."""
    for heads in (2, 4):
        host = make_host("sd15", attention_head_dim=heads)
        adapter = make_adapter(host)
        expected = run(adapter.attach(host).attached, cross_attention_kwargs=adapter.condition(make_tokens(adapter)))
        adapter.detach()
        for _, layer in adapter.layers.items():
            layer.attn.heads = 1
        adapter.layers.configs = {
            name: type(c)(**vars(c) | {"heads": None}) for name, c in adapter.layers.configs.items()
        }
        adapter.attach(host)
        assert torch.equal(run(host, cross_attention_kwargs=adapter.condition(make_tokens(adapter))), expected)


@torch.no_grad()
def test_the_layers_follow_the_host() -> None:
    host = make_host().to(torch.bfloat16)
    adapter = make_adapter(host).attach(host)
    layer = next(layer for _, layer in adapter.layers.items())
    assert layer.linear.weight.dtype == torch.bfloat16
    assert adapter.dtype == torch.float32, "tokens are made once per portrait: exactly"
    assert run(host, cross_attention_kwargs=adapter.condition(make_tokens(adapter))).dtype == torch.bfloat16
    host.to(torch.float32)
    assert layer.linear.weight.dtype == torch.float32
    run(host, cross_attention_kwargs=adapter.condition(make_tokens(adapter)))
    adapter.detach()
    host.to(torch.float64)
    assert layer.linear.weight.dtype == torch.float32


def test_the_hosts_switches_do_not_reach_the_layers() -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    host.requires_grad_(False)
    host.train()
    assert all(p.requires_grad for p in adapter.trainable_parameters())
    assert not adapter.layers.training
    host.set_attn_processor(host.attn_processors)
    host.fuse_qkv_projections()
    assert len([name for name, _ in host.named_modules() if "fuser." in name]) == 0


@pytest.mark.slow
@torch.no_grad()
def test_traced_whole_by_the_compiler() -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    kwargs = adapter.condition(make_tokens(adapter), scale=0.7)
    expected = run(host, cross_attention_kwargs=kwargs)
    compiled = torch.compile(host, backend="eager")
    torch.testing.assert_close(run(compiled, cross_attention_kwargs=kwargs), expected)
    adapter.detach()
    assert adapter.attach(compiled).attached is host


def test_loading_and_saving_the_base_with_an_adapter_on_it(tmp_path: Any) -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    host.save_pretrained(tmp_path)
    again = type(host).from_pretrained(tmp_path)
    assert not any("fuser" in name for name in again.state_dict())
    assert adapter.attached is host
    assert torch.equal(run(again.eval()), run(host))


# An adapter for some of the blocks


@torch.no_grad()
def test_an_adapter_for_some_blocks_sits_in_those_alone() -> None:
    host = make_host()
    whole = make_adapter(host)
    some = whole.with_blocks(["mid_block", "up_blocks.1.attentions.0"])
    assert set(some.layers.configs) == {name for name in whole.layers.configs if not name.startswith("down")} - {
        name for name in whole.layers.configs if name.startswith("up_blocks.1.attentions.1")
    }
    tokens = make_tokens(whole)
    whole.attach(host)
    left_out = {"mid_block": 1.0, "up_blocks.1.attentions.0": 1.0}
    switched_off = run(host, cross_attention_kwargs=whole.condition(tokens, scale=left_out))
    everywhere = run(host, cross_attention_kwargs=whole.condition(tokens))
    whole.detach()
    before = anatomy(host)
    some.attach(host)
    assert torch.equal(run(host, cross_attention_kwargs=some.condition(tokens)), switched_off)
    assert not torch.equal(switched_off, everywhere)
    with some.record() as increments:
        run(host, cross_attention_kwargs=some.condition(tokens))
    assert {one.block for one in increments} == set(some.layers.configs)
    with pytest.raises(UserError, match="scale names down_blocks"):
        some.condition(tokens, scale={"down_blocks": 1.0})
    some.detach()
    assert anatomy(host) == before


def test_blocks_are_names_from_their_beginning() -> None:
    host = make_host(layers_per_block=2)
    encoder = make_adapter(host).encoder

    def new(*blocks: str) -> Any:
        return FaceAdapter.new(
            host, encoder=encoder, resampler_config=make_adapter(host).resampler.config, blocks=blocks
        )

    assert {name.split(".transformer")[0] for name in new("down_blocks.0.attentions.1").layers.configs} == {
        "down_blocks.0.attentions.1"
    }
    assert len(new("down_blocks", "mid_block", "up_blocks").layers) == len(make_adapter(host).layers)
    with pytest.raises(UserError, match=r"in 'up_blocks\.0'; there are down_blocks\.0\.attentions\.0, "):
        new("mid_block", "up_blocks.0")  # (which reads no text)
    with pytest.raises(UserError, match="in 'up_blocks.1.att'"):
        new("up_blocks.1.att")
    with pytest.raises(UserError, match=r"adapter\.blocks is empty"):
        new()


def test_an_adapter_for_some_blocks_of_another_base_is_refused() -> None:
    some = make_adapter(make_host()).with_blocks(["down_blocks"])
    with pytest.raises(UserError, match=r"it has no layer for down_blocks\.0\.attentions\.1\."):
        some.attach(make_host(layers_per_block=2))
    some.attach(make_host()).detach()
    more = make_adapter(make_host()).with_blocks(["mid_block"])
    more.attach(make_host(layers_per_block=2))  # one block more where it never was: no matter

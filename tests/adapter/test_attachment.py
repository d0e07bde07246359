"""The tie between layers and model: of copies and pickles, and when one of the two is gone."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hosts import anatomy, make_adapter, make_host, make_tokens, run

from facefact import UserError
from facefact.adapter import detach
from tiny import tiny_pipeline


def through_pickle(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize("twin_of", [copy.deepcopy, through_pickle])
@torch.no_grad()
def test_copies_of_a_host_carry_their_own_layers(twin_of: Callable[[Any], Any]) -> None:
    host = make_host()
    before = run(host)
    adapter = make_adapter(host).attach(host)
    kwargs = adapter.condition(make_tokens(adapter))
    adapted, twin = run(host, cross_attention_kwargs=kwargs), twin_of(host)
    adapter.detach()
    for parameter in adapter.layers.parameters():
        parameter.zero_()
    assert torch.equal(run(twin, cross_attention_kwargs=kwargs), adapted)
    detach(twin)
    assert torch.equal(run(twin), before)
    assert anatomy(twin).keys() == anatomy(host).keys()
    assert [len(m._forward_pre_hooks) for m in twin.modules()] == [0] * len(list(twin.modules()))


@pytest.mark.parametrize("twin_of", [copy.deepcopy, through_pickle])
@torch.no_grad()
def test_copies_of_a_host_have_a_working_attachment(twin_of: Callable[[Any], Any]) -> None:
    host = make_host()
    before, adapter = run(host), make_adapter(host).attach(host)
    kwargs = adapter.condition(make_tokens(adapter), start=0.5)
    with adapter.record() as ours:
        adapted = run(host, cross_attention_kwargs=kwargs)
        twin = twin_of(host)
        attachment = twin.position_net.attachment
        with attachment.record() as theirs:
            assert torch.equal(run(twin, cross_attention_kwargs=kwargs), adapted)
    assert len(ours) == len(theirs) == len(adapter.layers)
    assert attachment.model is twin
    attachment.undo()
    attachment.undo()  # again: nothing happens
    assert attachment.model is None
    assert torch.equal(run(twin), before)
    assert adapter.attached is host, "the copy's alone was taken off"


@pytest.mark.parametrize("twin_of", [copy.deepcopy, through_pickle])
def test_a_copy_of_an_adapter_is_attached_to_nothing(twin_of: Callable[[Any], Any]) -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    twin = twin_of(adapter)
    assert twin.attached is None
    twin.detach()
    assert adapter.attached is host


def test_an_adapter_does_not_keep_its_host_alive() -> None:
    import gc

    host = make_host()
    adapter = make_adapter(host).attach(host)
    del host
    gc.collect()
    assert adapter.attached is None
    adapter.attach(make_host())


def test_an_adapter_knows_that_it_was_taken_off() -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    detach(host)
    assert adapter.attached is None
    adapter.attach(host)


class Deaf(torch.nn.Module):
    """In a block's place, as token merging puts its own: it drops what it was given."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor, **options: Any) -> torch.Tensor:
        return self.block(x, **options | {"cross_attention_kwargs": None})


def deafen(host: Any) -> None:
    for module in list(host.modules()):
        for i, block in enumerate(getattr(module, "transformer_blocks", ())):
            module.transformer_blocks[i] = Deaf(block)


@torch.no_grad()
def test_a_face_that_no_layer_hears_is_an_error() -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    tokens = make_tokens(adapter)
    before, kwargs = run(host), adapter.condition(tokens)
    run(host, cross_attention_kwargs=kwargs)
    deafen(host)
    assert torch.equal(run(host, cross_attention_kwargs=kwargs), before), "a cache leaves blocks out in later passes"
    with pytest.raises(UserError, match="UNet2DConditionModel was given a face, and none of the adapter's layers ran"):
        run(host, cross_attention_kwargs=adapter.condition(tokens))
    for silent in ({"scale": 0.0}, {"scale": {"mid_block": 0.0}}, {"start": 0.9}):
        assert torch.equal(run(host, cross_attention_kwargs=adapter.condition(tokens, **silent)), before)


def test_a_pipeline_that_keeps_the_face_is_an_error_after_the_first_step() -> None:
    from diffusers import StableDiffusionPipeline

    class Keeping(StableDiffusionPipeline):
        def __call__(self, prompt: str, cross_attention_kwargs: Any = None, **options: Any) -> Any:
            return super().__call__(prompt, **options)

    steps: list[int] = []

    def note(pipe: Any, step: int, *_: Any) -> dict[str, Any]:
        steps.append(step)
        return {}

    parts = tiny_pipeline().components
    pipe, stock = (kind(**parts, requires_safety_checker=False) for kind in (Keeping, StableDiffusionPipeline))
    adapter = make_adapter(pipe).attach(pipe)
    tokens = make_tokens(adapter)
    options = {"num_inference_steps": 3, "output_type": "latent", "callback_on_step_end": note}
    for _ in range(2):
        steps.clear()
        with pytest.raises(UserError, match="Keeping keeps the face from its model .* take another pipeline"):
            pipe("x", cross_attention_kwargs=adapter.condition(tokens), **options)
        assert steps == [0]
    kwargs = adapter.condition(tokens)
    stock("x", **options)  # the condition is not of this call
    stock("x", cross_attention_kwargs=kwargs, **options)
    pipe("x", cross_attention_kwargs=adapter.condition(tokens, scale=0.0), **options)


@torch.no_grad()
def test_whether_a_condition_arrived() -> None:
    host = make_host()
    adapter = make_adapter(host)
    assert not adapter.arrived
    kwargs = adapter.attach(host).condition(make_tokens(adapter))
    run(host)
    assert not adapter.arrived
    run(host, cross_attention_kwargs=kwargs)
    assert adapter.arrived
    adapter.condition(make_tokens(adapter))
    assert not adapter.arrived, "not this one"

"""The tie between layers and model: of copies and pickles, and when one of the two is gone."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hosts import anatomy, make_adapter, make_host, make_tokens, run

from facefact.adapter import detach


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

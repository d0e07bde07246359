"""What is made once per portrait: the same numbers, and never those of another portrait or of other weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hosts import make_adapter, make_host, make_tokens, run
from torch import Tensor

from facefact.adapter import FaceCondition, GatedSelfAttention


def condition_of(kwargs: dict[str, Any]) -> FaceCondition:
    return kwargs["gligen"]["objs"]


def without_keys(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"gligen": {"objs": condition_of(kwargs)._replace(keys=None)}}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The faces of which keys were made, one entry for each layer."""
    faces: list[Tensor] = []
    original = GatedSelfAttention.face_keys
    monkeypatch.setattr(
        GatedSelfAttention, "face_keys", lambda self, face: [original(self, face), faces.append(face)][0]
    )
    return faces


@torch.no_grad()
def test_once_per_condition(made: list[Tensor]) -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    kwargs = adapter.condition(make_tokens(adapter), scale=0.7)
    assert len(made) == len(adapter.layers)
    first = run(host, cross_attention_kwargs=kwargs)
    assert torch.equal(run(host, cross_attention_kwargs=kwargs), first)
    assert len(made) == len(adapter.layers), "no step makes them again"
    assert torch.equal(run(host, cross_attention_kwargs=without_keys(kwargs)), first)
    assert len(made) == 2 * len(adapter.layers)
    other = run(host, cross_attention_kwargs=adapter.condition(make_tokens(adapter, seed=9), scale=0.7))
    assert (other - first).abs().max() > 1e-3


@torch.no_grad()
def test_other_weights_make_their_own() -> None:
    """By an optimiser, by loading, in another type, in a copy of the host."""
    host = make_host()
    adapter = make_adapter(host).attach(host)
    kwargs = adapter.condition(make_tokens(adapter))

    def check() -> None:
        now = run(host, cross_attention_kwargs=kwargs)
        assert torch.equal(now, run(host, cross_attention_kwargs=without_keys(kwargs)))

    before = run(host, cross_attention_kwargs=kwargs)
    for name, parameter in adapter.layers.named_parameters():
        if "to_v" in name or "linear" in name:
            parameter.mul_(1.5)
    check()
    assert (run(host, cross_attention_kwargs=kwargs) - before).abs().max() > 1e-3
    adapter.load_state_dict(make_adapter(host, seed=7).state_dict())
    check()
    host.to(torch.bfloat16)
    check()


def test_gradients_go_through_the_face() -> None:
    host = make_host().requires_grad_(False)
    adapter = make_adapter(host).attach(host)
    tokens = make_tokens(adapter)
    face = tokens.face.clone().requires_grad_()
    kwargs = adapter.condition(type(tokens)(face=face, null=tokens.null), guidance=False)
    run(host, cross_attention_kwargs=kwargs).square().sum().backward()
    assert face.grad is not None
    assert face.grad.abs().max() > 0
    assert all(layer.attn.to_k.weight.grad is not None for _, layer in adapter.layers.items())


def test_in_training_there_are_none(made: list[Tensor]) -> None:
    host = make_host()
    adapter = make_adapter(host).train().attach(host)
    assert condition_of(adapter.condition(make_tokens(adapter))).keys is None
    assert not made


def test_keys_of_inference_mode() -> None:
    with torch.inference_mode():
        host = make_host()
        adapter = make_adapter(host).attach(host)
        kwargs = adapter.condition(make_tokens(adapter))
        run(host, cross_attention_kwargs=kwargs)
    with torch.no_grad():
        run(host, cross_attention_kwargs=kwargs)

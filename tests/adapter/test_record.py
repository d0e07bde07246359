"""Recording what the layers add, for FAIR."""

from __future__ import annotations

import pytest
import torch
from hosts import make_adapter, make_host, make_tokens, run

from facefact import UserError


def test_records_are_what_the_layers_add() -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    tokens = make_tokens(adapter)
    with adapter.record() as increments:
        run(host, cross_attention_kwargs=adapter.condition(tokens, scale=0.5))
    assert sorted(i.block for i in increments) == sorted(adapter.layers.configs)
    for i in increments:
        rows = torch.cat([tokens.null, tokens.face])
        attention, dense = adapter.layers[i.block].increments(i.entering, rows, scale=0.5)
        torch.testing.assert_close(i.attention, attention)
        torch.testing.assert_close(i.whole, attention + dense)
    count = len(increments)
    run(host, cross_attention_kwargs=adapter.condition(tokens))
    assert len(increments) == count, "outside the block nothing is recorded"


def test_several_passes_and_skipped_layers() -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    tokens = make_tokens(adapter)
    with adapter.record() as increments:
        run(host, cross_attention_kwargs=adapter.condition(tokens))
        run(host, cross_attention_kwargs=adapter.condition(tokens, scale={"mid_block": 1.0}))
        run(host)
    assert len(increments) == len(adapter.layers) + 1
    with pytest.raises(UserError, match="attached to no model"):
        adapter.detach().record()


@pytest.mark.parametrize("leave_before_backward", [True, False])
def test_gradient_checkpointing_gives_the_same_gradients(leave_before_backward: bool) -> None:
    """Blocks run again in the backward pass; that must neither be recorded twice nor change what is learned."""
    gradients = []
    for checkpointing in (False, True):
        host = make_host().requires_grad_(False).train()
        adapter = make_adapter(host, gate=0.3).train().attach(host)
        if checkpointing:
            host.enable_gradient_checkpointing()
        recording = adapter.record()
        increments = recording.__enter__()
        y = run(host, cross_attention_kwargs=adapter.condition(make_tokens(adapter), guidance=False))
        fair = torch.stack([(i.attention.norm() / i.entering.norm()) for i in increments]).mean()
        if leave_before_backward:
            recording.__exit__(None, None, None)
        (y.square().mean() + 0.1 * fair).backward()
        assert len(increments) == len(adapter.layers)
        if not leave_before_backward:
            recording.__exit__(None, None, None)
        gradients.append([p.grad for p in adapter.layers.parameters()])
        assert all(g is not None and g.isfinite().all() for g in gradients[-1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_training_keeps_its_own_precision() -> None:
    """A frozen base in bfloat16, weights that learn in float32."""
    host = make_host().requires_grad_(False).to(torch.bfloat16)
    adapter = make_adapter(host, gate=0.1).train().attach(host)
    assert {p.dtype for p in adapter.trainable_parameters()} == {torch.float32}
    y = run(host, cross_attention_kwargs=adapter.condition(make_tokens(adapter)))
    assert y.dtype == torch.bfloat16
    y.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in adapter.layers.parameters())
    assert not adapter.encoder.training
    assert not any(p.requires_grad for p in adapter.encoder.parameters())

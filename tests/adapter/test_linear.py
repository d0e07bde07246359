"""Linear layers by the faster library: the same numbers, and not behind anybody's back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facefact.adapter import linear as module
from facefact.adapter.linear import linear, project


@pytest.fixture(autouse=True, params=[True, False], ids=["onednn", "pytorch"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    wanted = request.param
    dtype = request.node.callspec.params.get("dtype", torch.float32)
    if wanted and dtype not in module.ONEDNN_TYPES:
        pytest.skip(f"oneDNN has no product in {dtype} on this machine")
    monkeypatch.setattr(module, "CPU_PREFERS_ONEDNN", wanted)
    with torch.no_grad():
        yield wanted


def off(y: Tensor, exact: Tensor) -> float:
    return float((y.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5, 48), (2, 7, 48), (1, 2, 3, 48), (48,)])
def test_against_float64(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape).to(dtype), torch.randn(32, 48).to(dtype), torch.randn(32).to(dtype)
    limit = 1e-6 if dtype == torch.float32 else 1e-2
    exact = F.linear(x.double(), weight.double(), bias.double())
    assert off(linear(x, weight, bias), exact) < limit
    assert off(linear(x, weight, bias, gelu=True), F.gelu(exact)) < limit
    assert off(linear(x, weight), F.linear(x.double(), weight.double())) < limit
    half = weight.chunk(2)[1]  # a view
    assert off(linear(x, half), F.linear(x.double(), half.double())) < limit


def test_an_operation_that_fails_or_errs_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A private one: another PyTorch may take other arguments, and an old processor has no product in bfloat16."""
    for broken in (None, lambda x, weight: None, lambda x, weight, *more: torch.zeros(len(x), len(weight))):
        assert not module.works(broken, torch.float32)
    assert module.works(lambda x, weight, *more: F.linear(x, weight), torch.bfloat16)
    x, weight = torch.randn(3, 8), torch.randn(4, 8)
    monkeypatch.setattr(module, "ONEDNN_TYPES", frozenset())
    monkeypatch.setattr(module, "_onednn", None)
    assert torch.equal(linear(x, weight), F.linear(x, weight))
    assert torch.equal(module.times_transposed(x, weight), F.linear(x, weight))


def test_strided_and_empty() -> None:
    x, weight = torch.randn(2, 48, 6).transpose(1, 2), torch.randn(32, 48)
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight), atol=1e-5, rtol=1e-5)
    assert linear(x[:0], weight).shape == (0, 6, 32)


def test_gradients_and_autocast_are_pytorchs() -> None:
    x, layer = torch.randn(3, 8), nn.Linear(8, 4)
    with torch.enable_grad():
        project(layer, x).sum().backward()
    assert layer.weight.grad is not None
    with torch.autocast("cpu", torch.bfloat16):
        assert project(layer, x).dtype == torch.bfloat16


def test_what_others_put_on_a_layer_counts() -> None:
    x, layer = torch.randn(3, 8), nn.Linear(8, 4)
    hook = layer.register_forward_hook(lambda layer, given, y: 2 * y)
    torch.testing.assert_close(project(layer, x), 2 * F.linear(x, layer.weight, layer.bias))
    hook.remove()
    layer.forward = lambda x: 3 * F.linear(x, layer.weight, layer.bias)  # type: ignore[method-assign]
    torch.testing.assert_close(project(layer, x), 3 * F.linear(x, layer.weight, layer.bias))

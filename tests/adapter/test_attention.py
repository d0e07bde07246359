"""The attention kernels against float64, at flat and at peaky scores."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, library
from torch.utils._python_dispatch import TorchDispatchMode

from facefact.adapter import attention as module
from facefact.adapter import linear as products
from facefact.adapter.attention import attention, blocked, sdpa

TYPES = [torch.bfloat16, torch.float32]


@pytest.fixture(autouse=True)
def _own_products(request: pytest.FixtureRequest) -> None:
    """Where oneDNN has no products in a type, `attention` never takes blocks in it."""
    dtype = getattr(request.node, "callspec", None) and request.node.callspec.params.get("dtype")
    if dtype is not None and dtype not in products.ONEDNN_TYPES:
        pytest.skip(f"oneDNN has no product in {dtype} on this machine")


def draw(*, spread: float, n: int = 256, m: int = 272, heads: int = 2, d: int = 40, batch: int = 1) -> list[Tensor]:
    """q, k and v with scores of this standard deviation."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(batch, length, heads * d, generator=generator) for length in (n, m, m))
    return [q * spread**0.5, k * spread**0.5, v]


def error(y: Tensor, exact: Tensor) -> float:
    return float((y.double() - exact).norm() / exact.norm())


def rounded(q: Tensor, keys: list[Tensor], values: list[Tensor], *, heads: int) -> Tensor:
    """What must not be called exact: scores rounded to the type of q before the softmax."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, keys[0], values[0]))
    return ((q * q.shape[-1] ** -0.5) @ k.mT).softmax(-1).matmul(v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("spread", [1.0, 4.0, 9.0])
@torch.no_grad()
def test_error_is_within_twice_that_of_sdpa(spread: float, dtype: torch.dtype) -> None:
    q, k, v = (x.to(dtype) for x in draw(spread=spread))
    exact = sdpa(q.double(), [k.double()], [v.double()], heads=2)
    ours, theirs, bad = (error(f(q, [k], [v], heads=2), exact) for f in (blocked, sdpa, rounded))
    assert ours < 2 * theirs
    if dtype == torch.bfloat16 and spread > 1:
        assert bad > 2 * theirs, "the test can tell"


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("heads", "d"), [(1, 160), (8, 5), (3, 40)])
@torch.no_grad()
def test_parts_count_as_one(heads: int, d: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_SCORES", 0)  # the fewest rows: several blocks, the last one not full
    q, k, v = (x.to(dtype) for x in draw(spread=2.0, n=150, m=96, heads=heads, d=d, batch=2))
    exact = sdpa(q.double(), [k.double()], [v.double()], heads=heads)
    for kernel in (blocked, sdpa):
        whole = kernel(q, [k], [v], heads=heads)
        assert whole.dtype == dtype
        assert error(whole, exact) < (1e-2 if dtype == torch.bfloat16 else 1e-5)
        parts = kernel(q, list(k.split([80, 16], 1)), list(v.split([80, 16], 1)), heads=heads)
        assert torch.equal(parts, whole)


@torch.no_grad()
def test_any_layout_and_any_library(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = draw(spread=2.0, n=80, m=80)
    expected = blocked(q, [k], [v], heads=2)
    strided = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    torch.testing.assert_close(blocked(strided[0], [strided[1]], [strided[2]], heads=2), expected)
    monkeypatch.setattr(products, "ONEDNN_TYPES", frozenset())
    torch.testing.assert_close(blocked(q, [k], [v], heads=2), expected)
    with torch.autocast("cpu", torch.bfloat16):  # must not round the scores
        assert torch.equal(blocked(q, [k], [v], heads=2), blocked(q, [k], [v], heads=2))
        torch.testing.assert_close(blocked(q, [k], [v], heads=2), expected)


class Largest(TorchDispatchMode):
    """Elements of the largest tensor of numbers that was made."""

    numel = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.is_floating_point():
            self.numel = max(self.numel, made.numel())
        return made


@torch.no_grad()
def test_memory_does_not_grow_with_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_SCORES", 2**17)
    sizes = {}
    for n in (512, 1024):
        q, k, v = draw(spread=1.0, n=n, m=n, d=8)
        with Largest() as largest:
            blocked(q, [k], [v], heads=2)
        sizes[n] = largest.numel
    assert sizes[512] == sizes[1024] == 2**17 * min(torch.get_num_threads(), 4)


def chosen(q: Tensor, k: Tensor, v: Tensor) -> str:
    y = attention(q, [k], [v], heads=2)
    same = [kernel.__name__ for kernel in (blocked, sdpa) if torch.equal(y, kernel(q, [k], [v], heads=2))]
    return " ".join(same)


def test_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CPU_PREFERS_BLOCKS", True)
    q, k, v = draw(spread=4.0, n=256, m=256)
    assert chosen(q, k, v) == "blocked"
    assert chosen(q[:, :16], k[:, :16], v[:, :16]) == "sdpa", "few scores"
    double = [x.double() for x in (q, k, v)]
    assert torch.equal(
        attention(double[0], [double[1]], [double[2]], heads=2), sdpa(double[0], [double[1]], [double[2]], heads=2)
    )
    learning = q.clone().requires_grad_()
    assert attention(learning, [k], [v], heads=2).requires_grad
    with torch.no_grad():
        assert chosen(learning, k, v) == "blocked"
    monkeypatch.setattr(module, "CPU_PREFERS_BLOCKS", False)
    assert chosen(q, k, v) == "sdpa"


def test_the_operator_as_the_compiler_sees_it() -> None:
    q, k, v = draw(spread=1.0, n=16, m=16)
    library.opcheck(module._blocked_op, (q, [k, k], [v, v], 2), test_utils=["test_schema", "test_faketensor"])


@pytest.mark.parametrize("dtype", TYPES)
@torch.no_grad()
def test_bias(dtype: torch.dtype) -> None:
    """A key with the bias log(c) counts as c keys, one with -inf not at all."""
    q, k, v = (x.to(dtype) for x in draw(spread=4.0, n=64, m=40, batch=2))
    number = torch.arange(80).view(2, 40) % 4
    for kernel in (blocked, sdpa):
        y = kernel(q, [k], [v], heads=2, bias=number.log())
        for i in range(2):
            many_k, many_v = (x[i : i + 1].repeat_interleave(number[i], 1).double() for x in (k, v))
            exact = sdpa(q[i : i + 1].double(), [many_k], [many_v], heads=2)
            assert error(y[i : i + 1], exact) < (1e-2 if dtype == torch.bfloat16 else 1e-5)

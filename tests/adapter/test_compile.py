"""The compiler sees one graph, whatever the step, the scale and the portrait."""

from __future__ import annotations

import pytest
import torch
from hosts import make_adapter, make_host, make_tokens, run

from facefact.adapter import attention as kernels
from facefact.adapter import fast_kernels

ONE_RESOLUTION = {  # the compiler reads every block anew: the fewer, the faster the test
    "block_out_channels": (16,),
    "down_block_types": ("CrossAttnDownBlock2D",),
    "up_block_types": ("CrossAttnUpBlock2D",),
}


@pytest.mark.slow
@pytest.mark.parametrize(("start", "backend"), [(0.0, "aot_eager"), (0.3, "eager")])
@torch.no_grad()
def test_one_graph(start: float, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """(The first backend traces the operators too, which takes as long again: once is enough.)"""
    from torch._dynamo.utils import counters

    monkeypatch.setattr(kernels, "CPU_PREFERS_BLOCKS", True)
    monkeypatch.setattr(
        kernels, "FEWEST_SCORES", 0
    )  # blocks for every layer: the kernel that is an operator of its own
    host = make_host(**ONE_RESOLUTION)
    adapter = make_adapter(host).attach(host)
    fast_kernels(host)
    torch._dynamo.reset()
    compiled = torch.compile(host, backend=backend, fullgraph=True)
    graphs = set()
    for timestep, scale, seed in ((999, 0.7, 3), (801, 0.3, 3), (400, 1.0, 4), (10, 0.7, 4)):
        kwargs = adapter.condition(make_tokens(adapter, seed=seed), scale=scale, start=start)
        options = {"timestep": torch.tensor(timestep), "cross_attention_kwargs": kwargs}
        torch.testing.assert_close(run(compiled, **options), run(host, **options), atol=1e-5, rtol=1e-4)
        graphs.add(counters["stats"]["unique_graphs"])
    assert len(graphs) == 1
    assert not counters["graph_break"]
    torch._dynamo.reset()


@pytest.mark.slow
@torch.no_grad()
def test_one_graph_for_a_known_region() -> None:
    from torch._dynamo.utils import counters

    host = make_host(**ONE_RESOLUTION)
    adapter = make_adapter(host).attach(host)
    torch._dynamo.reset()
    counters.clear()
    compiled = torch.compile(host, backend="eager", fullgraph=True)
    exact = adapter.condition(make_tokens(adapter), scale=0.7)
    for timestep, width in ((999, 24), (801, 24), (400, 23)):
        mask = torch.zeros(64, 64)
        mask[4:30, 8 : 8 + width] = 1
        kwargs = adapter.condition(make_tokens(adapter), scale=0.7, local=mask)
        options = {"timestep": torch.tensor(timestep), "cross_attention_kwargs": kwargs}
        ours = run(compiled, **options)
        torch.testing.assert_close(ours, run(host, **options), atol=1e-5, rtol=1e-4)
        assert not torch.equal(ours, run(host, timestep=torch.tensor(timestep), cross_attention_kwargs=exact))
    assert counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()


@pytest.mark.slow
@torch.no_grad()
def test_one_graph_for_regions() -> None:
    from torch._dynamo.utils import counters

    from facefact.adapter import Region

    host = make_host(**ONE_RESOLUTION)
    adapter = make_adapter(host).attach(host)
    torch._dynamo.reset()
    counters.clear()
    compiled = torch.compile(host, backend="eager", fullgraph=True)
    for timestep, width in ((999, 24), (801, 24), (400, 40)):
        left, right = torch.zeros(2, 64, 64)
        left[:, :width], right[:, width:] = 1, 1
        people = [Region(mask, make_tokens(adapter, seed=i)) for i, mask in enumerate((left, right))]
        options = {"timestep": torch.tensor(timestep), "cross_attention_kwargs": adapter.condition(people, scale=0.7)}
        torch.testing.assert_close(run(compiled, **options), run(host, **options), atol=1e-5, rtol=1e-4)
    assert counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()

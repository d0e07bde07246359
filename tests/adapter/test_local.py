"""Local mode does what exact mode does where it works, elsewhere nothing, and it knows where the face is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hosts import make_adapter, make_host, make_tokens, run
from test_companions import draw
from torch import Tensor

from facefact import UserError
from facefact.adapter import GatedSelfAttention, LayerConfig, Local
from facefact.adapter.local import Tracker
from facefact.adapter.tokens import choose_tokens


def quarter(size: int = 8) -> Tensor:
    """The upper left quarter but for a rim."""
    mask = torch.zeros(size, size)
    mask[: size // 2 - 1, : size // 2 - 1] = 1
    return mask


def make_layer(*, width: int = 16) -> GatedSelfAttention:
    torch.manual_seed(0)
    return GatedSelfAttention(LayerConfig(width=width, token_width=12, heads=2), gate=0.8).eval()


@torch.no_grad()
def test_the_same_numbers_for_fewer_tokens() -> None:
    layer, x, face = make_layer(), torch.randn(4, 256, 16), torch.randn(2, 3, 12)
    subset = choose_tokens(quarter(16)[None], 256, share=0.2, latents=(16, 16), copies=4)
    assert subset is not None
    exact = layer.increments(x, face, scale=0.7)
    local = layer.increments(x, face, scale=0.7, subset=subset)
    for whole, part in zip(exact, local, strict=True):
        torch.testing.assert_close(part, subset.pick(whole), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_equal_tokens_outside_may_be_seen_as_one() -> None:
    layer, face = make_layer(), torch.randn(1, 3, 12)
    x = torch.randn(1, 4, 4, 16).repeat_interleave(4, 1).repeat_interleave(4, 2).flatten(1, 2)  # 16 x 16, cells of 4
    x[0, :3] += torch.randn(3, 16)
    subset = choose_tokens(quarter(16)[None], 256, share=0.2, latents=(16, 16), cell=4)
    assert subset is not None
    exact = layer.increments(x, face)
    local = layer.increments(x, face, subset=subset)
    for whole, part in zip(exact, local, strict=True):
        torch.testing.assert_close(part, subset.pick(whole), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
@torch.no_grad()
def test_inside_a_model(kind: str) -> None:
    host = make_host(kind)
    adapter = make_adapter(host).attach(host)
    tokens = make_tokens(adapter)
    with adapter.record() as exact:
        whole = run(host, cross_attention_kwargs=adapter.condition(tokens))
    with adapter.record() as local:
        part = run(host, cross_attention_kwargs=adapter.condition(tokens, local=quarter()))
    assert not torch.equal(whole, part)
    first, before = local[0], exact[0]
    n, side = first.entering.shape[1], int(first.entering.shape[1] ** 0.5)
    grid = first.whole.view(2, side, side, -1)
    assert not grid[:, -1].any()
    assert not grid[:, :, -1].any()
    inside = first.whole.norm(dim=-1) > 0
    assert 0 < inside.float().mean() < 0.6
    assert first.entering.shape == (2, n, first.whole.shape[-1]) == before.whole.shape
    everywhere = run(host, cross_attention_kwargs=adapter.condition(tokens, local=torch.ones(8, 8)))
    assert torch.equal(everywhere, whole), "above half of the picture it works for all of it"


def test_masks_of_several_pictures(pipe: Any) -> None:
    adapter = make_adapter(pipe).attach(pipe)
    tokens, masks = make_tokens(adapter), torch.stack([quarter(), quarter().flip(0, 1)])
    both = draw(pipe, adapter.condition(tokens, local=masks), prompt=["a", "b"], generator=generators(0, 1))
    for i, prompt in enumerate("ab"):
        one = draw(pipe, adapter.condition(tokens, local=masks[i]), prompt=prompt, generator=generators(i))
        np.testing.assert_allclose(both[i], one[0], atol=1e-4)
    with pytest.raises(UserError, match="of 2 pictures, the batch has 1"):
        draw(pipe, adapter.condition(tokens, local=masks))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_increments_everywhere_mean_exact_mode(pipe: Any) -> None:
    """A random adapter adds as much to the background as anywhere: there is no face to be found."""
    adapter = make_adapter(pipe).attach(pipe)
    tokens = make_tokens(adapter)
    exact = draw(pipe, adapter.condition(tokens), num_inference_steps=5)
    assert np.array_equal(draw(pipe, adapter.condition(tokens, local=True), num_inference_steps=5), exact)


def test_reuse(pipe: Any) -> None:
    adapter = make_adapter(pipe).attach(pipe)
    tokens = make_tokens(adapter)
    calls: list[str] = []
    for name, layer in adapter.layers.items():
        layer.attn.register_forward_hook(lambda module, args, y, name=name: calls.append(name))

    def image(reuse: int) -> np.ndarray:
        calls.clear()
        local = Local(mask=quarter(), reuse=reuse)
        return draw(pipe, adapter.condition(tokens, local=local), num_inference_steps=5)

    steps = len(pipe.scheduler.timesteps) if image(1).any() else 0
    assert len(calls) == steps * len(adapter.layers)
    assert not np.array_equal(image(2), image(1))
    image(2)
    assert len(calls) == -(-steps // 2) * len(adapter.layers)


def test_one_condition_for_one_portrait_after_the_other(pipe: Any) -> None:
    adapter = make_adapter(pipe).attach(pipe)
    local = Local(mask=quarter(), reuse=2)
    kwargs = adapter.condition(make_tokens(adapter), local=local)
    first = draw(pipe, kwargs, num_inference_steps=3)
    assert np.array_equal(draw(pipe, kwargs, num_inference_steps=3), first)
    wide = {"height": 64, "width": 128, "num_inference_steps": 3}
    fresh = draw(pipe, adapter.condition(make_tokens(adapter), local=local), **wide)
    assert np.array_equal(draw(pipe, kwargs, **wide), fresh)


def test_wrong_settings(pipe: Any) -> None:
    adapter = make_adapter(pipe)
    tokens = make_tokens(adapter)
    for wrong, says in (
        (torch.zeros(8, 8), "0 everywhere"),
        (torch.ones(1, 1, 8, 8), r"\(h, w\) or \(pictures, h, w\)"),
    ):
        with pytest.raises(UserError, match=says):
            adapter.condition(tokens, local=wrong)
    with pytest.raises(UserError, match="looks=0: a number from 1 on"):
        Local(looks=0)


# Finding and following, on increments made here: a blob on a weak ground, latents of 32 x 32, under guidance.

SIDE = 32


def blob(y: float, x: float, *, radius: float = 5.0, ground: float = 0.1) -> Tensor:
    """(SIDE, SIDE): strength of increments."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return ground + torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * radius**2))


def step(tracker: Tracker, timestep: float, strengths: list[Tensor]) -> Tensor | None:
    """One pass of a model whose layers add these strengths to each picture; returns the region it worked in."""
    batch = tracker.copies * len(strengths)
    tracker.begin((batch, 4, SIDE, SIDE), timestep)
    for block, n in (("fine", SIDE**2), ("coarse", SIDE**2 // 4), ("fine again", SIDE**2)):
        side = int(n**0.5)
        maps = torch.nn.functional.adaptive_avg_pool2d(torch.stack(strengths), side).flatten(1)
        whole = maps.repeat(tracker.copies, 1)[..., None].expand(-1, -1, 3)
        subset = tracker.tokens(n)
        part = whole if subset is None else subset.pick(whole)
        tracker.note(block, n, (part, 0 * part))
    return tracker.region


def centre(region: Tensor) -> tuple[float, float]:
    return tuple(float(place) for place in region.nonzero().float().mean(0))


def test_found_after_the_looks_and_followed() -> None:
    tracker = Tracker.of(Local(looks=2), copies=2)
    assert step(tracker, 999, [blob(10, 12)]) is None
    assert step(tracker, 960, [blob(10, 12)]) is None
    found = step(tracker, 920, [blob(10, 12)])
    assert found is not None
    assert 0.1 < float(found.mean()) < 0.4
    assert centre(found[0]) == pytest.approx((10, 12), abs=0.6)
    for i in range(1, 11):  # a token a step, down and to the right
        region = step(tracker, 920 - 40 * i, [blob(10 + i, 12 + i / 2)])
    assert region is not None
    assert centre(region[0]) == pytest.approx((19, 16.5), abs=1.5)


def test_every_picture_of_a_batch_is_followed_alone() -> None:
    tracker = Tracker.of(Local(looks=1), copies=2)
    places = [(10, 9), (20, 21)]
    for timestep in (999, 960, 920):
        region = step(tracker, timestep, [blob(*place) for place in places])
    assert region is not None
    for one, place in zip(region, places, strict=True):
        assert centre(one) == pytest.approx(place, abs=0.8)


def test_unsure_it_works_everywhere() -> None:
    tracker = Tracker.of(Local(looks=1), copies=1)
    for timestep in (999, 960, 920):
        assert step(tracker, timestep, [blob(16, 16, ground=2.0)]) is None, "no face stands out"
    assert step(tracker, 880, [blob(16, 16)]) is None
    assert step(tracker, 840, [torch.ones(SIDE, SIDE)]) is not None, "now it does"
    regions = [step(tracker, 800 - 40 * i, [torch.ones(SIDE, SIDE)]) for i in range(8)]
    assert any(region is None for region in regions), "and no longer: it looks at all of the picture again"
    for i in range(3):
        region = step(tracker, 400 - 40 * i, [blob(16, 16)])
    assert region is not None


def test_another_portrait_is_looked_for_anew() -> None:
    def follow(timesteps: list[float], tracker: Tracker) -> list[bool]:
        return [step(tracker, timestep, [blob(10, 12)]) is not None for timestep in timesteps]

    tracker = Tracker.of(Local(looks=1), copies=2)
    assert follow([999, 960, 960, 920], tracker) == [False, True, True, True], "PNDM and Heun stay at a level"
    assert follow([999, 960], tracker) == [False, True]
    assert follow([999], tracker) == [False], "a picture in one step"
    assert follow([999], tracker) == [False], "and another one"
    assert follow([999, 960], tracker) == [False, True]
    tracker.begin((4, 4, SIDE, SIDE), 900)
    assert tracker.region is None, "another batch"

"""Several people in one picture: each token has the face of its own person, and nothing but that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hosts import make_adapter, make_host, make_tokens, run
from test_companions import draw
from torch import Tensor

from facefact import FaceAdapter, UserError
from facefact.adapter import GatedSelfAttention, LayerConfig, Local, Region
from facefact.adapter import attention as kernels
from facefact.adapter.attention import blocked, sdpa
from facefact.adapter.regions import Regions, gathered
from facefact.adapter.tokens import choose_tokens


def box(x0: float, x1: float, *, size: int = 16) -> Tensor:
    """A column of the picture, from x0 to x1 of its width."""
    mask = torch.zeros(size, size)
    mask[:, round(x0 * size) : round(x1 * size)] = 1
    return mask


LEFT, RIGHT, ALL = box(0, 0.5), box(0.5, 1), box(0, 1)


def people(adapter: FaceAdapter, *masks: Tensor, scales: tuple[float, ...] = ()) -> list[Region]:
    """Somebody else in each of the regions."""
    tokens = [make_tokens(adapter, seed=10 + i) for i in range(len(masks))]
    given = scales or (1.0,) * len(masks)
    return [Region(mask, one, scale) for mask, one, scale in zip(masks, tokens, given, strict=True)]


def placed(*masks: Tensor, scales: tuple[float, ...] = (), rows: int = 1, copies: int = 1) -> Regions:
    """Of latents of 8 x 8."""
    factors = torch.tensor(scales or (1.0,) * len(masks))
    return Regions(masks, factors, torch.zeros(0)).in_pass((rows, 4, 8, 8), copies)


@pytest.fixture
def hosted() -> tuple[Any, FaceAdapter]:
    host = make_host()
    return host, make_adapter(host).attach(host)


# The kernels


@pytest.mark.parametrize("kernel", [sdpa, blocked])
@torch.no_grad()
def test_scores_and_shares(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BLOCK_SCORES", 0)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 2 * 8, generator=generator) for n in (150, 90, 90))
    shares = torch.rand(2, 150, 3, generator=generator).softmax(-1)
    shares[:, :40] = torch.tensor([0.0, 1.0, 0.0])
    owner = torch.tensor([0, 0, 1, 1, 1, 2])
    got = kernel(q, [k[:, :84], k[:, 84:]], [v[:, :84], v[:, 84:]], heads=2, shares=shares.log(), owner=owner)
    weights = torch.cat([torch.ones(2, 150, 84), shares[..., owner]], -1)  # exp(log s + score) = s exp(score)
    split = [x.double().unflatten(2, (2, 8)).transpose(1, 2) for x in (q, k, v)]
    exact = (split[0] @ split[1].mT / 8**0.5).exp() * weights[:, None]
    exact = (exact / exact.sum(-1, keepdim=True)) @ split[2]
    torch.testing.assert_close(got, exact.transpose(1, 2).flatten(2).float(), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_layer_of_regions_is_each_persons_layer_in_their_region() -> None:
    torch.manual_seed(0)
    layer = GatedSelfAttention(LayerConfig(width=16, token_width=12, heads=2), gate=0.8).eval()
    x, faces = torch.randn(2, 64, 16), [torch.randn(1, m, 12) for m in (3, 5)]
    owner = torch.tensor([0] * 3 + [1] * 5)
    regions = Regions((LEFT, RIGHT), torch.tensor([1.0, 0.5]), owner).in_pass((2, 4, 8, 8), 1)
    got = layer.increments(x, torch.cat(faces, 1), scale=0.7, shares=regions.shares(64))
    columns = torch.arange(64) % 8
    for face, scale, here in ((faces[0], 0.7, columns < 4), (faces[1], 0.35, columns >= 4)):
        for ours, alone in zip(got, layer.increments(x, face, scale=scale), strict=True):
            torch.testing.assert_close(ours[:, here], alone[:, here], atol=1e-6, rtol=1e-5)


# Shares


def test_overlaps_are_shared_out_and_sum_to_one() -> None:
    shares = placed(box(0, 0.75), box(0.25, 1), 0.5 * box(0.25, 0.75)).shares(64)
    torch.testing.assert_close(shares.logs.exp().sum(-1), torch.ones(1, 64))
    columns = shares.logs.exp().view(8, 8, 3)
    torch.testing.assert_close(columns[:, 0], torch.tensor([1.0, 0, 0]).expand(8, 3))
    torch.testing.assert_close(columns[:, 3], torch.tensor([0.4, 0.4, 0.2]).expand(8, 3))
    assert torch.equal(shares.strength, torch.ones(1, 64, 1)), "an overlap is no stronger than one face"


def test_strength_follows_the_people_and_the_cover() -> None:
    shares = placed(box(0, 0.25), box(0.5, 1), scales=(1.0, 0.5)).shares(16)  # tokens of 4 x 4 in 16 x 16
    assert torch.equal(shares.strength.view(4, 4)[0], torch.tensor([1.0, 0.0, 0.5, 0.5]))
    half = placed(box(0, 0.125)).shares(16)
    assert torch.equal(half.strength.view(4, 4)[0], torch.tensor([0.5, 0.0, 0.0, 0.0]))


def test_pictures_and_their_copies() -> None:
    shares = placed(torch.stack([LEFT, RIGHT]), RIGHT, rows=8, copies=2).shares(4)  # two images of each prompt
    first, second = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 1.0])
    for row, here in enumerate([first, first, second, second] * 2):
        assert torch.equal(shares.strength[row].view(2, 2)[0], here)
    with pytest.raises(UserError, match="of 2 pictures, the batch has 3"):
        placed(torch.stack([LEFT, RIGHT]), rows=3)


def test_tokens_without_a_grid_are_refused() -> None:
    with pytest.raises(UserError, match="7 tokens"):
        placed(LEFT).shares(7)


# Inside a model


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
@torch.no_grad()
def test_one_region_over_all_is_the_single_person(kind: str) -> None:
    host = make_host(kind)
    adapter = make_adapter(host).attach(host)
    tokens = make_tokens(adapter)
    alone = run(host, cross_attention_kwargs=adapter.condition(tokens, scale=0.7))
    region = run(host, cross_attention_kwargs=adapter.condition([Region(ALL, tokens)], scale=0.7))
    torch.testing.assert_close(region, alone, atol=1e-6, rtol=1e-5)
    twice = adapter.condition([Region(LEFT, tokens), Region(RIGHT, tokens)], scale=0.7)
    torch.testing.assert_close(run(host, cross_attention_kwargs=twice), alone, atol=1e-5, rtol=1e-5)
    shared = adapter.condition([Region(ALL, tokens), Region(ALL, tokens)], scale=0.7)
    torch.testing.assert_close(run(host, cross_attention_kwargs=shared), alone, atol=1e-5, rtol=1e-5)
    weak = adapter.condition([Region(ALL, tokens, 0.5)], scale=1.4)
    torch.testing.assert_close(run(host, cross_attention_kwargs=weak), alone, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_outside_of_all_regions_nothing_is_added(hosted: tuple[Any, FaceAdapter]) -> None:
    host, adapter = hosted
    with adapter.record() as made:
        run(host, cross_attention_kwargs=adapter.condition(people(adapter, box(0, 0.25), box(0.25, 0.5))))
    for one in made:
        side = int(one.whole.shape[1] ** 0.5)
        columns = one.whole.unflatten(1, (side, side))
        assert not columns[:, :, side // 2 :].any()
        assert columns[:, :, : side // 2].any()


@torch.no_grad()
def test_the_order_of_people_means_nothing_and_their_places_all(hosted: tuple[Any, FaceAdapter]) -> None:
    host, adapter = hosted
    regions = people(adapter, box(0, 0.6), box(0.4, 0.8), box(0.8, 1), scales=(1.0, 0.5, 0.8))
    one = run(host, cross_attention_kwargs=adapter.condition(regions))
    other = run(host, cross_attention_kwargs=adapter.condition([regions[i] for i in (2, 0, 1)]))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    first, second = people(adapter, LEFT, RIGHT)
    swapped = [replace(first, mask=RIGHT), replace(second, mask=LEFT)]
    with adapter.record() as straight:
        run(host, cross_attention_kwargs=adapter.condition([first, second]))
    with adapter.record() as crossed:
        run(host, cross_attention_kwargs=adapter.condition(swapped))
    alone = []
    for region in (first, second):
        with adapter.record() as made:
            run(host, cross_attention_kwargs=adapter.condition(region.tokens))
        alone.append(made[0].whole)
    left = torch.arange(straight[0].whole.shape[1]) % 8 < 4
    for got, (here, there) in ((straight, (0, 1)), (crossed, (1, 0))):  # of the first layer: what enters is the same
        expected = torch.where(left[:, None], alone[here], alone[there])
        torch.testing.assert_close(got[0].whole, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_several_photos_of_one_and_one_of_the_other(hosted: tuple[Any, FaceAdapter]) -> None:
    host, adapter = hosted
    one, other = make_tokens(adapter, seed=1), make_tokens(adapter, seed=2)
    twice = type(one)(one.face.repeat(1, 2, 1), one.null.repeat(1, 2, 1))
    with adapter.record() as made:
        run(host, cross_attention_kwargs=adapter.condition([Region(LEFT, twice), Region(RIGHT, other)]))
    with adapter.record() as alone:
        run(host, cross_attention_kwargs=adapter.condition(twice))
    left = torch.arange(64) % 8 < 4
    torch.testing.assert_close(made[0].whole[:, left], alone[0].whole[:, left], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", ["gf", "gff", "gfgf"])  # guidance, PAG's three rows, views of a panorama
@torch.no_grad()
def test_each_row_of_the_batch_has_its_faces(layout: str, hosted: tuple[Any, FaceAdapter]) -> None:
    host, adapter = hosted
    regions = people(adapter, LEFT, RIGHT)
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(2, 4, 8, 8, generator=generator)
    null, text = torch.randn(2, 7, 12, generator=generator)
    rows = [
        (pictures[i // 2 if layout == "gfgf" else 0], null if mark == "g" else text) for i, mark in enumerate(layout)
    ]
    sample, words = (torch.stack(part) for part in zip(*rows, strict=True))
    got = host(
        sample, 500, encoder_hidden_states=words, cross_attention_kwargs=adapter.condition(regions, scale=0.7)
    ).sample
    for i, mark in enumerate(layout):
        tokens = [one.tokens.null if mark == "g" else one.tokens.face for one in regions]
        alone = [replace(one, tokens=type(one.tokens)(f, f)) for one, f in zip(regions, tokens, strict=True)]
        kwargs = adapter.condition(alone, scale=0.7, guidance=False)
        one = host(sample[i : i + 1], 500, encoder_hidden_states=words[i : i + 1], cross_attention_kwargs=kwargs)
        torch.testing.assert_close(got[i], one.sample[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_with_local_mode_only_the_regions_are_computed() -> None:
    torch.manual_seed(0)
    layer = GatedSelfAttention(LayerConfig(width=16, token_width=12, heads=2), gate=0.8).eval()
    x, face = torch.randn(2, 256, 16), torch.randn(1, 6, 12)
    regions = Regions((box(0, 0.2), box(0.2, 0.3)), torch.ones(2), torch.tensor([0] * 3 + [1] * 3))
    shares = regions.in_pass((2, 4, 16, 16), 1).shares(256)
    subset = choose_tokens(box(0, 0.3)[None], 256, share=0.35, latents=(16, 16), copies=2)
    assert subset is not None
    exact = layer.increments(x, face, shares=shares)
    part = layer.increments(x, face, shares=shares, subset=subset)
    for whole, some in zip(exact, part, strict=True):
        torch.testing.assert_close(some, subset.pick(whole), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_local_mode_takes_the_regions_for_its_place(hosted: tuple[Any, FaceAdapter]) -> None:
    host, adapter = hosted
    regions = people(adapter, box(0, 0.2), box(0.2, 0.3))
    exact = run(host, cross_attention_kwargs=adapter.condition(regions))
    local = run(host, cross_attention_kwargs=adapter.condition(regions, local=Local(box(0, 0.3), cell=1)))
    torch.testing.assert_close(local, exact, atol=1e-5, rtol=1e-5)


def test_in_a_pipeline_with_start_and_end(pipe: Any) -> None:
    adapter = make_adapter(pipe).attach(pipe)
    regions = people(adapter, LEFT, RIGHT)
    base = draw(pipe, num_inference_steps=3)
    assert np.array_equal(draw(pipe, adapter.condition(regions, start=1.0), num_inference_steps=3), base)
    assert np.array_equal(draw(pipe, adapter.condition(regions, scale=0), num_inference_steps=3), base)
    late = draw(pipe, adapter.condition(regions, start=0.6), num_inference_steps=3)
    group = draw(pipe, adapter.condition(regions), num_inference_steps=3)
    assert 0 < np.abs(late - base).mean() < np.abs(group - base).mean()
    unguided = draw(pipe, adapter.condition(regions, guidance=False), guidance_scale=1.0)
    np.testing.assert_allclose(draw(pipe, adapter.condition(regions), guidance_scale=1.0), unguided, atol=1e-4)


def test_groups_of_a_batch_have_places_of_their_own(pipe: Any) -> None:
    adapter = make_adapter(pipe).attach(pipe)
    first, second = people(adapter, LEFT, RIGHT)
    places = [replace(first, mask=torch.stack([LEFT, RIGHT])), replace(second, mask=torch.stack([RIGHT, LEFT]))]
    seeds = [torch.Generator().manual_seed(i) for i in (0, 1)]
    both = draw(pipe, adapter.condition(places), prompt=["a", "b"], generator=seeds)
    for i, prompt in enumerate("ab"):
        alone = [replace(one, mask=one.mask[i]) for one in places]
        kwargs = adapter.condition(alone)
        one = draw(pipe, kwargs, prompt=prompt, generator=torch.Generator().manual_seed(i))
        np.testing.assert_allclose(both[i], one[0], atol=1e-4)


# What is refused


def test_what_is_no_region() -> None:
    adapter = make_adapter(make_host())
    tokens = make_tokens(adapter)
    for mask, says in ((torch.zeros(8, 8), "0 everywhere"), (torch.ones(8), r"\(h, w\)"), (2 * ALL, "from 0")):
        with pytest.raises(UserError, match=says):
            Region(mask, tokens)
    with pytest.raises(UserError, match="negative"):
        Region(ALL, tokens, -0.5)
    with pytest.raises(UserError, match="without people"):
        gathered([])
    three = make_tokens(adapter, people=3)
    with pytest.raises(UserError, match="different shapes"):
        adapter.condition([Region(LEFT, three), Region(RIGHT, make_tokens(adapter, people=2))])


# Followed, and found


def test_people_without_a_place_need_somebody_who_finds_them() -> None:
    adapter = make_adapter(make_host())
    one, other = make_tokens(adapter, seed=1), make_tokens(adapter, seed=2)
    for local in (False, ALL):
        with pytest.raises(UserError, match="found by local mode"):
            adapter.condition([Region(None, one), Region(None, other)], local=local)
    adapter.condition([Region(None, one), Region(None, other)], local=True)
    with pytest.raises(UserError, match="and others none"):
        adapter.condition([Region(None, one), Region(ALL, other)], local=True)


def test_a_group_that_is_found_keeps_nothing_from_one_portrait_to_the_next(pipe: Any) -> None:
    adapter = make_adapter(pipe).attach(pipe)
    regions = [replace(one, mask=None) for one in people(adapter, LEFT, RIGHT)]
    kwargs = adapter.condition(regions, local=Local(looks=1))
    first = draw(pipe, kwargs, num_inference_steps=4)
    assert np.array_equal(draw(pipe, kwargs, num_inference_steps=4), first)

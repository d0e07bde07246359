"""Which tokens local mode works for, and what stands for the others."""

from __future__ import annotations

import pytest
import torch

from facefact.adapter.tokens import TokenSubset, choose_tokens, grid_of, tokens_needed


def square(side: int, *, y: int, x: int, size: int) -> torch.Tensor:
    mask = torch.zeros(1, size, size)
    mask[:, y : y + side, x : x + side] = 1
    return mask


@pytest.mark.parametrize(
    ("n", "latents", "grid"),
    [
        (4096, (64, 64), (64, 64)),
        (256, (64, 64), (16, 16)),
        (96, (64, 96), (8, 12)),
        (35, (9, 13), (5, 7)),  # odd sizes are halved upwards
        (100, (64, 64), None),
    ],
)
def test_grid(n: int, latents: tuple[int, int], grid: tuple[int, int] | None) -> None:
    assert grid_of(n, latents) == grid


@pytest.mark.parametrize("n", [64, 256, 4096])
@pytest.mark.parametrize("place", [(0, 0), (13, 22), (37, 5), (40, 40)])
def test_every_token_that_touches_a_square_is_chosen(n: int, place: tuple[int, int]) -> None:
    y, x = place
    mask, side = square(24, y=y, x=x, size=64), int(n**0.5)
    subset = choose_tokens(mask, n, share=float(mask.mean()), latents=(64, 64), copies=2)
    assert subset is not None
    assert subset.count == tokens_needed(24 * 24 / 64**2, n) < n / 2
    chosen = torch.zeros(2 * n).index_fill(0, subset.chosen, 1).view(2, side, side)
    touched = torch.nn.functional.adaptive_max_pool2d(mask, side)
    assert (chosen >= touched).all()
    assert torch.equal(chosen[0], chosen[1])


def test_each_picture_has_its_own() -> None:
    masks = torch.cat([square(4, y=0, x=0, size=16), square(2, y=12, x=12, size=16)])
    subset = choose_tokens(masks, 256, share=1 / 16, latents=(16, 16), copies=2)
    assert subset is not None
    tokens = torch.arange(4 * 256).view(4, 256, 1)
    chosen = subset.pick(tokens)[..., 0] % 256
    assert torch.equal(chosen[:2], chosen[2:])
    for row, mask in zip(chosen, masks, strict=False):
        assert set(mask.flatten().nonzero()[:, 0].tolist()) <= set(row.tolist())
    assert (chosen.diff(dim=1) > 0).all()


def test_all_of_them_is_no_choice() -> None:
    assert choose_tokens(torch.ones(1, 8, 8), 64, share=1.0, latents=(8, 8)) is None
    assert choose_tokens(square(2, y=0, x=0, size=8), 100, share=0.1, latents=(8, 8)) is None, "no such grid"


def test_of_and_add() -> None:
    x = torch.randn(2, 16, 3)
    subset = TokenSubset(torch.tensor([1, 4, 16 + 2, 16 + 15]), 2, (4, 4))
    expected = x.clone()
    expected[0, [1, 4]] *= 3
    expected[1, [2, 15]] *= 3
    torch.testing.assert_close(subset.add(x, 2 * subset.pick(x)), expected)


def test_others_are_means_of_what_is_left_of_each_cell() -> None:
    x = torch.randn(1, 16, 3)
    # the whole first cell, and one token of the second
    subset = TokenSubset(torch.tensor([0, 1, 4, 5, 7]), 5, (4, 4), cell=2)
    means, log_counts = subset.others(x)
    assert means.shape == (1, 4, 3)
    torch.testing.assert_close(log_counts.exp(), torch.tensor([[0.0, 3, 4, 4]]))
    torch.testing.assert_close(means[0, 1], x[0, [2, 3, 6]].mean(0))
    torch.testing.assert_close(means[0, 3], x[0, [10, 11, 14, 15]].mean(0))

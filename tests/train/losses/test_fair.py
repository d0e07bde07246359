"""FAIR against the published formula, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facefact.adapter import Increment, LayerConfig
from facefact.adapter.layer import GatedSelfAttention
from facefact.train.losses.fair import fair, leak, mask_for, mean_outside, output_leak


def increment(places: int, *, seed: int = 0, batch: int = 2, width: int = 5) -> Increment:
    entering, attention, dense = torch.randn(3, batch, places, width, generator=torch.Generator().manual_seed(seed))
    return Increment("block", entering, attention, attention + dense)


def half_face(size: int = 16) -> torch.Tensor:
    """(2, size, size): the left half is face in the first picture, the upper half in the second."""
    face = torch.zeros(2, size, size)
    face[0, :, : size // 2] = 1
    face[1, : size // 2] = 1
    return face


@pytest.mark.parametrize("part", ["attention", "whole"])
def test_fair_is_the_published_formula(part) -> None:
    """||GSA(x) (1 - M)|| / ||x (1 - M)||, the mean over layers and pictures."""
    increments, face = [increment(16 * 16), increment(8 * 8, seed=1)], half_face()
    ratios = []
    for one, size in zip(increments, (16, 8), strict=True):
        mask = face.numpy().reshape(2, size, 16 // size, size, 16 // size).mean((2, 4))
        for picture in range(2):
            outside = (1 - mask[picture].reshape(-1, 1)).astype(np.float64)
            added = getattr(one, part)[picture].numpy() * outside
            entering = one.entering[picture].numpy() * outside
            ratios.append(np.sqrt((added**2).sum()) / np.sqrt((entering**2).sum()))
    assert float(fair(increments, face, part)) == pytest.approx(np.mean(ratios), rel=1e-5)


def test_what_is_added_inside_the_face_costs_nothing() -> None:
    face = half_face(8)
    one = increment(8 * 8)
    inside = face.flatten(1)[:, :, None]
    kept = Increment(one.block, one.entering, one.attention * inside, one.whole * inside)
    assert float(fair([kept], face)) == pytest.approx(0, abs=1e-3)


def test_pictures_without_an_outside_do_not_count() -> None:
    """All face: nothing over nothing. Neither the mean nor any gradient knows them."""
    one, two = increment(8 * 8, batch=4), increment(4 * 4, batch=4, seed=1)
    face = torch.cat([half_face(8), torch.ones(2, 8, 8)])
    of_two = [Increment(x.block, x.entering[:2], x.attention[:2], x.whole[:2]) for x in (one, two)]
    one.whole.requires_grad_(True)
    found = fair([one, two], face)
    assert found.item() == pytest.approx(fair(of_two, half_face(8)).item())
    found.backward()
    assert one.whole.grad[2:].abs().max() == 0
    assert one.whole.grad[:2].abs().max() > 0
    assert fair([one, two], torch.ones(4, 8, 8)).item() == 0
    sliver = face.clone()
    sliver[2, 0, 0] = 0.5  # half a cell of outside is one
    assert fair([one, two], sliver).item() != found.item()


def test_of_the_output_too() -> None:
    base = torch.ones(3, 4, 6, 6)
    face = torch.zeros(3, 6, 6)
    face[2] = 1
    shares = output_leak(1.5 * base, base, face)
    assert float(mean_outside(shares, face)) == pytest.approx(0.5, abs=1e-4)
    assert float(mean_outside(shares, torch.ones(3, 6, 6))) == 0


def test_fair_is_proportional_to_what_is_added_and_blind_to_the_size_of_what_enters() -> None:
    face, one = half_face(8), increment(8 * 8)
    twice = Increment(one.block, one.entering, 2 * one.attention, 2 * one.whole)
    scaled = Increment(one.block, 3 * one.entering, 3 * one.attention, 3 * one.whole)
    torch.testing.assert_close(leak(twice, face), 2 * leak(one, face))
    torch.testing.assert_close(leak(scaled, face), leak(one, face))


def test_fair_pushes_what_is_added_and_never_what_enters() -> None:
    face, one = half_face(8), increment(8 * 8)
    for tensor in (one.entering, one.attention, one.whole):
        tensor.requires_grad_(True)
    fair([one], face, "attention").backward()
    assert one.entering.grad is None
    assert one.whole.grad is None
    outside = 1 - face.flatten(1)[:, :, None]
    assert (one.attention.grad * (1 - outside)).abs().max() == 0
    assert (one.attention.grad * outside).abs().max() > 0


def test_the_mask_at_a_layers_resolution_is_the_share_of_face_by_area() -> None:
    face = torch.zeros(1, 16, 24)
    face[0, :6, :10] = 1
    mask = mask_for(face, 4 * 6)
    wanted = face[0].numpy().reshape(4, 4, 6, 4).mean((1, 3)).reshape(1, 24, 1)
    np.testing.assert_allclose(mask.numpy(), wanted)
    assert mask.mean() == pytest.approx(float(face.mean()))


def test_a_layer_that_has_no_grid_of_the_masks_aspect_is_an_error() -> None:
    with pytest.raises(ValueError, match="17 places"):
        mask_for(torch.zeros(1, 16, 16), 17)


def test_the_output_leak_is_the_change_of_the_answer_outside_the_face() -> None:
    base, face = torch.ones(2, 4, 6, 6), torch.zeros(2, 6, 6)
    face[:, :3] = 1
    adapted = base.clone()
    adapted[:, :, :3] += 5.0  # inside: counts nothing
    torch.testing.assert_close(output_leak(adapted, base, face), torch.zeros(2), atol=1e-3, rtol=0)
    adapted[1, :, 3:] += 0.25
    torch.testing.assert_close(output_leak(adapted, base, face), torch.tensor([0.0, 0.25]), atol=1e-3, rtol=0)
    adapted.requires_grad_()
    output_leak(adapted, base, face).sum().backward()
    assert adapted.grad is not None
    assert adapted.grad[:, :, :3].abs().max() == 0, "nothing is asked of the face"


# The forms: what GSA(x) is, and the norm or its square


def layer_and_input(gate: float) -> tuple[GatedSelfAttention, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    layer = GatedSelfAttention(LayerConfig(width=16, token_width=8, heads=2), gate=gate)
    return layer, torch.randn(2, 64, 16), torch.randn(2, 4, 8)


def recorded(layer: GatedSelfAttention, x: torch.Tensor, tokens: torch.Tensor) -> Increment:
    said: list[torch.Tensor] = []
    attention, dense = layer.increments(x, tokens, ungated=said.append)
    return Increment("block", x, attention, attention + dense, *said)


def test_without_its_gate_the_attention_asks_nothing_of_alpha() -> None:
    """...and everything of what is behind the gate, even where that is closed."""
    for gate in (0.0, 0.3):
        layer, x, tokens = layer_and_input(gate)
        fair([recorded(layer, x, tokens)], half_face(8), "ungated").backward()
        assert layer.alpha_attn.grad is None
        assert layer.alpha_dense.grad is None
        assert layer.attn.to_v.weight.grad.abs().max() > 0
        layer.zero_grad(set_to_none=True)
        fair([recorded(layer, x, tokens)], half_face(8), "attention").backward()
        assert (layer.attn.to_v.weight.grad.abs().max() > 0) == (gate != 0)
        assert layer.alpha_attn.grad is not None


def test_the_gated_attention_is_its_gate_times_the_ungated() -> None:
    layer, x, tokens = layer_and_input(0.4)
    one = recorded(layer, x, tokens)
    torch.testing.assert_close(one.attention, np.tanh(0.4) * one.ungated)
    face = half_face(8)
    torch.testing.assert_close(leak(one, face, "attention"), np.tanh(0.4) * leak(one, face, "ungated"))


def test_what_was_not_recorded_before_its_gate_is_an_error() -> None:
    with pytest.raises(ValueError, match="did not record"):
        leak(increment(64), half_face(8), "ungated")


def slope(part: str, size: float, *, squared: bool) -> float:
    """The length of FAIR's gradient by the increment, where that is `size` times one of about 1 a place."""
    one = increment(8 * 8, batch=1)
    added = (size * one.attention).requires_grad_()
    fair([Increment("block", one.entering, added, added, added)], half_face(8)[:1], part, squared=squared).backward()
    return float(added.grad.norm())


@pytest.mark.parametrize("part", ["attention", "whole", "ungated"])
def test_the_squares_slope_fades_with_the_increment_and_the_norms_does_not(part: str) -> None:
    sizes = (1.0, 0.1, 0.01)
    norms, squares = ([slope(part, size, squared=squared) for size in sizes] for squared in (False, True))
    np.testing.assert_allclose(norms, norms[0], rtol=1e-3)
    np.testing.assert_allclose(squares, [squares[0] * size for size in sizes], rtol=1e-3)


def test_the_square_is_that_of_each_layers_share() -> None:
    """By hand: half of the places are outside; x is 2 there, the layers add 1 and 0.5: shares 1/2 and 1/4."""
    face = torch.zeros(1, 4, 4)
    face[:, :2] = 1
    layers = [
        Increment("block", torch.full((1, 16, 3), 2.0), added, added, added)
        for added in (torch.full((1, 16, 3), 1.0), torch.full((1, 16, 3), 0.5))
    ]
    for part in ("attention", "whole", "ungated"):
        assert float(fair(layers, face, part)) == pytest.approx((1 / 2 + 1 / 4) / 2, rel=1e-5)
        assert float(fair(layers, face, part, squared=True)) == pytest.approx((1 / 4 + 1 / 16) / 2, rel=1e-5)
    base = torch.full((1, 3, 4, 4), 2.0)
    assert float(output_leak(base + 1, base, face, squared=True)) == pytest.approx(1 / 4, rel=1e-5)

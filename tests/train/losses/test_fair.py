"""FAIR against the published formula, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facefact.adapter import Increment
from facefact.train.losses.fair import fair, leak, mask_for, output_leak


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
    assert float(fair([one], torch.ones(2, 8, 8))) == pytest.approx(1, abs=1e-6)  # all face: nothing over nothing


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

"""DPAP and EHSM against their formulas: spectra, which patches change, and what a token's entropy is worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from facefact.train.encoder.patch_augmentation import (
    PatchAugmentation,
    amplitude_and_phase,
    dominant_patches,
    from_amplitude_and_phase,
    from_patches,
    mix_amplitudes,
    perturb_dominant,
    perturb_patches,
    sample_weights,
    to_patches,
    token_entropy,
)
from facefact.types import UserError


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_patches_tile_the_picture_as_the_encoder_sees_it() -> None:
    pixels = rand(2, 3, 40, 40)
    patches = to_patches(pixels, 9)
    assert patches.shape == (2, 16, 3, 9, 9)
    assert torch.equal(patches[1, 4 * 2 + 3], pixels[1, :, 18:27, 27:36])
    assert torch.equal(from_patches(patches, pixels), pixels)  # what is left over at the edges, too
    assert torch.equal(from_patches(patches + 1, pixels)[..., 36:, :], pixels[..., 36:, :])


@pytest.mark.parametrize("side", [8, 9])
def test_a_spectrum_taken_apart_and_put_together_is_the_patch(side: int) -> None:
    patch = rand(5, 3, side, side)
    torch.testing.assert_close(from_amplitude_and_phase(*amplitude_and_phase(patch)), patch)


@pytest.mark.parametrize("side", [8, 9])
def test_the_amplitude_is_mixed_and_the_phase_is_kept(side: int) -> None:
    own, other = rand(4, 3, side, side), rand(4, 3, side, side, seed=1)
    share = rand(4, 1, 1, 1, seed=2)
    found = np.fft.fft2(perturb_patches(own, other, share).numpy())
    a, b = np.fft.fft2(own.numpy()), np.fft.fft2(other.numpy())
    wanted = (1 - share.numpy()) * np.abs(a) + share.numpy() * np.abs(b)
    np.testing.assert_allclose(np.abs(found), wanted, atol=1e-10)
    np.testing.assert_allclose(found / np.abs(found), a / np.abs(a), atol=1e-8)


def test_the_ends_of_the_mixture() -> None:
    own, other = rand(3, 8, 8), rand(3, 8, 8, seed=1)
    torch.testing.assert_close(perturb_patches(own, other, torch.zeros(1).double()), own)  # nothing of the other
    torch.testing.assert_close(perturb_patches(own, own, torch.ones(1).double()), own)  # all, but of itself
    flat = torch.full_like(own, 0.5)
    torch.testing.assert_close(perturb_patches(flat, flat / 2, torch.tensor(0.5).double()), 0.75 * flat)  # brightness
    assert torch.equal(mix_amplitudes(own, other, torch.ones(1).double()), other)


def test_the_most_important_patches_are_dominant() -> None:
    gates = torch.tensor([[0.1, 0.9, 0.2, 0.8], [0.7, 0.1, 0.6, 0.2]])
    assert [set(row) for row in dominant_patches(gates, 0.5).tolist()] == [{1, 3}, {0, 2}]
    assert dominant_patches(gates, 0.0).shape == (2, 1)  # at least one
    assert dominant_patches(torch.rand(1, 144), 7 / 144).shape == (1, 7)  # the published number


def test_only_the_dominant_patches_change() -> None:
    pixels = rand(3, 3, 40, 40).float() * 2 - 1
    gates = rand(3, 16, seed=3).float()
    torch.manual_seed(0)
    made = perturb_dominant(pixels, gates, pixels, 9, PatchAugmentation(1.0, top_share=3 / 16))
    changed = (to_patches(made, 9) - to_patches(pixels, 9)).abs().amax((2, 3, 4)) > 1e-3
    for row, chosen in zip(changed, gates.topk(3).indices, strict=True):
        assert set(row.nonzero()[:, 0].tolist()) == set(chosen.tolist())
    assert torch.equal(made[..., 36:], pixels[..., 36:])
    assert made.min() >= -1
    assert made.max() <= 1


def test_without_a_mixture_it_is_the_identity() -> None:
    pixels = rand(2, 3, 32, 32).float() * 2 - 1
    made = perturb_dominant(pixels, torch.rand(2, 16), pixels, 8, PatchAugmentation(1.0, 1.0, mix=0.0))
    torch.testing.assert_close(made, pixels, atol=1e-6, rtol=0)


def test_it_is_a_function_of_torchs_generator() -> None:
    pixels, gates = rand(2, 3, 32, 32).float() * 2 - 1, torch.rand(2, 16)
    made = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        made.append(perturb_dominant(pixels, gates, pixels, 8, PatchAugmentation(1.0, 0.2)))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_a_tokens_entropy_is_that_of_a_gaussian() -> None:
    tokens = torch.randn(1, 3, 200_000, generator=torch.Generator().manual_seed(0))
    tokens = tokens * torch.tensor([0.5, 1.0, 3.0])[None, :, None] + 7  # where it lies does not matter
    wanted = [0.5 * math.log(2 * math.pi * math.e * sigma**2) for sigma in (0.5, 1.0, 3.0)]
    torch.testing.assert_close(token_entropy(tokens)[0], torch.tensor(wanted), atol=0.01, rtol=0)
    assert torch.isfinite(token_entropy(torch.zeros(1, 2, 8))).all()


def test_hard_samples_weigh_more() -> None:
    entropy = torch.linspace(-2, 3, 11)[:, None].expand(-1, 4)
    weights = sample_weights(entropy)
    torch.testing.assert_close(weights, 1 + torch.exp(-entropy[:, 0]))
    assert (weights.diff() < 0).all()  # less information, more weight
    assert (weights > 1).all()


def test_the_gradient_asks_for_more_information() -> None:
    tokens = torch.randn(1, 2, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    sample_weights(token_entropy(tokens)).sum().backward()
    smaller = tokens.detach() - 0.1 * tokens.grad
    assert (token_entropy(smaller) > token_entropy(tokens.detach())).all()


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(UserError, match=r"loss\.patch_augmentation\.mix must lie in 0 to 1, not 2"):
        PatchAugmentation(mix=2).check("loss.patch_augmentation")

"""Normalised latents: zero mean, unit variance, and the same pictures."""

from __future__ import annotations

import torch

from facefact.train.bundle.autoencoder import AutoencoderConfig, new_autoencoder
from facefact.train.bundle.latents import measure_latents, normalise_latents, render_pixels


def skewed_autoencoder():
    """Small, random, with latents far from zero mean and unit variance."""
    torch.manual_seed(0)
    autoencoder = new_autoencoder(AutoencoderConfig(widths=(8, 8, 16, 16), latent_channels=4)).eval()
    with torch.no_grad():
        autoencoder.quant_conv.weight[:4] *= torch.tensor([0.3, 1.0, 4.0, 9.0])[:, None, None, None]
        autoencoder.quant_conv.bias[:4] += torch.tensor([-2.0, 0.0, 0.5, 3.0])
    return autoencoder


def test_folding_the_normalisation_changes_the_latents_and_no_picture() -> None:
    autoencoder = skewed_autoencoder()
    pixels = next(render_pixels(3, 4))
    with torch.no_grad():
        before = autoencoder.encode(pixels).latent_dist
        picture = autoencoder.decode(before.mode()).sample
        measured = normalise_latents(autoencoder, render_pixels(5, 40))
        after = autoencoder.encode(pixels).latent_dist
        again = autoencoder.decode(after.mode()).sample
    torch.testing.assert_close(again, picture, atol=1e-4, rtol=0)
    m, s = (value.float()[None, :, None, None] for value in (measured.mean, measured.std))
    torch.testing.assert_close(after.mean, (before.mean - m) / s, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.std, before.std / s, atol=1e-5, rtol=1e-4)
    assert autoencoder.config.scaling_factor == 1.0


def test_the_latents_have_zero_mean_and_unit_variance() -> None:
    autoencoder = skewed_autoencoder()
    normalise_latents(autoencoder, render_pixels(5, 40))
    left = measure_latents(autoencoder, render_pixels(5, 40))
    torch.testing.assert_close(left.mean, torch.zeros(4, dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(left.std, torch.ones(4, dtype=torch.float64), atol=1e-4, rtol=0)


def test_the_measured_pictures_are_a_function_of_the_seed() -> None:
    first, again, other = (torch.cat(list(render_pixels(seed, 7, batch=3))) for seed in (1, 1, 2))
    assert first.shape == (7, 3, 128, 128)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)

"""The autoencoder's stage: its loss written out, and its batches."""

from __future__ import annotations

import pytest
import torch

from facefact.train.bundle.autoencoder import AutoencoderConfig, AutoencoderStage, new_autoencoder, portrait_batches

TINY = AutoencoderConfig(widths=(8, 8, 8, 8), latent_channels=4, crop=32, face_weight=3.0, kl=0.5)


def stage(config: AutoencoderConfig = TINY) -> AutoencoderStage:
    torch.manual_seed(0)
    return AutoencoderStage(new_autoencoder(config), config)


def test_the_bundles_autoencoder_shrinks_eight_times() -> None:
    autoencoder = new_autoencoder(TINY)
    latents = autoencoder.encode(torch.zeros(1, 3, 64, 32)).latent_dist.mean
    assert latents.shape == (1, 4, 8, 4)
    assert autoencoder.decode(latents).sample.shape == (1, 3, 64, 32)


def test_the_loss_is_weighted_errors_and_the_kl_divergence() -> None:
    made, batch = stage(), next(portrait_batches(1, 2, TINY, crop_steps=1)(0))
    torch.manual_seed(5)
    terms = made(batch)
    torch.manual_seed(5)
    posterior = made.autoencoder.encode(batch["pixels"]).latent_dist
    error = made.autoencoder.decode(posterior.sample()).sample - batch["pixels"]
    weight = torch.where(batch["face"] > 0, 3.0, 1.0).expand_as(error)
    absolute, squared = ((weight * part).sum() / weight.sum() for part in (error.abs(), error.square()))
    torch.testing.assert_close(terms["absolute"], absolute)
    torch.testing.assert_close(terms["squared"], squared)
    unit = torch.distributions.Normal(0.0, 1.0)
    kl = torch.distributions.kl_divergence(torch.distributions.Normal(posterior.mean, posterior.std), unit).mean()
    torch.testing.assert_close(terms["kl"], kl)
    torch.testing.assert_close(terms["loss"], absolute + 2 * squared + 0.5 * kl)


def test_crops_come_first_then_a_quarter_as_many_whole_pictures() -> None:
    source = portrait_batches(1, 8, TINY, crop_steps=1)(0)
    first, second = next(source), next(source)
    assert first["pixels"].shape == (8, 3, 32, 32)
    assert first["face"].shape == (8, 1, 32, 32)
    assert second["pixels"].shape == (2, 3, 128, 128)
    assert float(second["face"].mean()) == pytest.approx(0.25, abs=0.15)
    again = next(portrait_batches(1, 8, TINY, crop_steps=1)(1))
    assert torch.equal(second["pixels"], again["pixels"])

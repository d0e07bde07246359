"""The decoder's further training: its loss written out, what it leaves alone, and its crops."""

from __future__ import annotations

import pytest
import torch

from facefact.train.bundle.autoencoder import AutoencoderConfig, new_autoencoder
from facefact.train.bundle.decoder import DecoderStage, portrait_crops
from facefact.train.losses.diffusion import place_weight

WEIGHTS = {"face_weight": 2.0, "feature_weight": 6.0, "weber": 1.0}


@pytest.fixture
def stage() -> DecoderStage:
    torch.manual_seed(0)
    return DecoderStage(new_autoencoder(AutoencoderConfig(widths=(8, 8, 8, 8), latent_channels=4)), **WEIGHTS)


def test_the_loss_counts_faces_features_and_dark_skins_more(stage: DecoderStage) -> None:
    batch = next(portrait_crops(1, 2, 32)(0))
    torch.manual_seed(5)
    terms = stage(batch)
    torch.manual_seed(5)
    latents = stage.autoencoder.encode(batch["pixels"]).latent_dist.sample()
    error = stage.autoencoder.decode(latents).sample - batch["pixels"]
    weight = place_weight(batch["face"], batch["features"], batch["light"], **WEIGHTS)[:, None].expand_as(error)
    absolute, squared = ((weight * part).sum() / weight.sum() for part in (error.abs(), error.square()))
    torch.testing.assert_close(terms["absolute"], absolute)
    torch.testing.assert_close(terms["loss"], absolute + 2 * squared)


def test_the_latents_stay_as_they_are(stage: DecoderStage) -> None:
    stage(next(portrait_crops(1, 2, 32)(0)))["loss"].backward()
    learning = {name.split(".")[0] for name, p in stage.autoencoder.named_parameters() if p.grad is not None}
    assert learning == {"decoder", "post_quant_conv"}
    assert not any(p.requires_grad for p in stage.autoencoder.encoder.parameters())


def test_every_other_crop_is_about_the_face_and_all_are_the_same_again() -> None:
    source = portrait_crops(1, 8, 64)
    first, second = source(0), next(source(1))
    batch, again = next(first), next(first)
    assert batch["pixels"].shape == (8, 3, 64, 64)
    assert batch["pixels"].abs().max() <= 1
    assert batch["face"][::2].mean() > 0.3  # of a whole picture about a quarter
    assert batch["face"][1::2].mean() < batch["face"][::2].mean()
    assert batch["features"][::2].amax((1, 2)).min() > 0.9  # an eye or the mouth is in each
    assert all(torch.equal(again[name], second[name]) for name in again)

"""The diffusion loss and its weights."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler

from facefact.train.bundle.base_model import new_scheduler
from facefact.train.losses.diffusion import clean_latents, diffusion_loss, snr_weight
from facefact.train.losses.noise import noised


def test_the_face_counts_as_often_as_it_is_weighted() -> None:
    """Half of the picture is face and wrong by 2, the other half by 1."""
    face = torch.zeros(1, 4, 4)
    face[:, :2] = 1
    predicted = 1 + face[:, None].expand(1, 3, 4, 4)
    of = lambda w: float(diffusion_loss(predicted, torch.zeros(1, 3, 4, 4), 1 + (w - 1) * face, torch.ones(1)))  # noqa: E731
    assert of(1.0) == pytest.approx((4 + 1) / 2)
    assert of(3.0) == pytest.approx((3 * 4 + 1) / 4)


@pytest.mark.parametrize("velocity", [False, True])
def test_min_snr_is_the_same_in_terms_of_the_clean_latents(velocity) -> None:
    """weight * |prediction error|^2 = min(snr, gamma) * |error of the clean latents|^2."""
    scheduler = new_scheduler() if velocity else DDIMScheduler()
    torch.manual_seed(0)
    clean, timesteps = torch.randn(5, 4, 8, 8), torch.tensor([10, 200, 500, 800, 950])
    sample, target = noised(scheduler, clean, timesteps)
    error = 0.1 * torch.randn_like(clean)
    believed = clean_latents(scheduler, sample, target + error, timesteps)
    snr = (a := scheduler.alphas_cumprod[timesteps]) / (1 - a)
    ours = snr_weight(scheduler, timesteps, 5.0) * error.square().mean((1, 2, 3))
    torch.testing.assert_close(
        ours, snr.clamp(max=5.0) * (believed - clean).square().mean((1, 2, 3)), rtol=2e-2, atol=1e-6
    )
    assert torch.equal(snr_weight(scheduler, timesteps, None), torch.ones(5))

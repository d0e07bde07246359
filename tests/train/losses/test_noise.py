"""Noise levels are drawn as said, and the model is asked for what it predicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from facefact.train.bundle.base_model import new_scheduler
from facefact.train.losses.noise import noised, spread_timesteps


def quantile(t: np.ndarray, middle: float, high_noise: float) -> np.ndarray:
    """The u that a timestep in [0, 1) came from, by inversion."""
    u = np.linspace(0, 1, 100_001)
    v = u + middle * np.sin(2 * np.pi * u) / (2 * np.pi)
    return np.interp(t, 1 - (1 - v).clip(0) ** high_noise, u)


@pytest.mark.parametrize(("middle", "high_noise"), [(0.0, 1.0), (0.5, 1.0), (0.0, 1.6)])
def test_timesteps_fall_one_in_each_stratum(middle, high_noise) -> None:
    torch.manual_seed(0)
    n = 32
    for _ in range(50):
        t = spread_timesteps(n, torch.device("cpu"), middle=middle, high_noise=high_noise).numpy()
        assert t.min() >= 0
        assert t.max() <= 999
        stratum = quantile((t + 0.5) / 1000, middle, high_noise) * n
        assert np.abs(stratum - (np.arange(n) + 0.5)).max() < 0.5 + 0.5 * n / 1000 * 4


def test_the_middle_is_drawn_more_often_as_said() -> None:
    torch.manual_seed(0)
    t = torch.cat([spread_timesteps(64, torch.device("cpu"), middle=0.5) for _ in range(500)]).numpy() / 1000
    for a, b in ((0.0, 0.1), (0.2, 0.4), (0.45, 0.55), (0.9, 1.0)):
        wanted = quantile(np.array([b]), 0.5, 1.0) - quantile(np.array([a]), 0.5, 1.0)
        assert ((t >= a) & (t < b)).mean() == pytest.approx(float(wanted[0]), abs=0.004)
    assert ((t > 0.49) & (t < 0.51)).mean() / 0.02 == pytest.approx(2.0, rel=0.1)  # 1 / (1 - m)


def test_high_noise_is_drawn_more_often_as_said() -> None:
    torch.manual_seed(0)
    t = torch.cat([spread_timesteps(64, torch.device("cpu"), high_noise=2.0) for _ in range(300)]).numpy() / 1000
    assert (t > 0.75).mean() == pytest.approx(0.5, abs=0.01)  # 1 - (1 - u)^2 > 3/4 from u = 1/2 on


def test_the_velocity_and_the_end_of_the_schedule() -> None:
    """v = sqrt(a) noise - sqrt(1 - a) x; at the last step nothing of the picture is left and v = -x."""
    scheduler = new_scheduler()
    torch.manual_seed(0)
    x = torch.randn(3, 4, 8, 8)
    timesteps = torch.tensor([0, 500, 999])
    sample, velocity = noised(scheduler, x, timesteps)
    a = scheduler.alphas_cumprod[timesteps][:, None, None, None]
    noise = (sample - a.sqrt() * x) / (1 - a).sqrt()
    torch.testing.assert_close(velocity, a.sqrt() * noise - (1 - a).sqrt() * x, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(velocity[2], -x[2], atol=1e-5, rtol=0)
    assert float(scheduler.alphas_cumprod[-1]) == pytest.approx(0, abs=1e-7)


def test_epsilon_is_the_noise_that_was_added() -> None:
    scheduler = DDIMScheduler(prediction_type="epsilon")
    torch.manual_seed(0)
    x, timesteps = torch.randn(2, 4, 8, 8), torch.tensor([100, 900])
    sample, target = noised(scheduler, x, timesteps)
    a = scheduler.alphas_cumprod[timesteps][:, None, None, None]
    torch.testing.assert_close(sample, a.sqrt() * x + (1 - a).sqrt() * target)

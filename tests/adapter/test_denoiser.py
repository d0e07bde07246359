"""The model inside whatever holds it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hosts import make_host
from torch import nn

from facefact import UserError
from facefact.adapter import denoiser
from facefact.adapter.denoiser import SCHEDULE_LENGTH, schedule_length


def test_whatever_wraps_the_model(pipe: Any) -> None:
    assert denoiser(pipe) is pipe.unet
    host = make_host()
    assert denoiser(SimpleNamespace(transformer=host)) is host
    for wrapped in (host, torch.compile(host), nn.DataParallel(host), nn.DataParallel(torch.compile(host))):
        assert denoiser(wrapped) is host
    with pytest.raises(UserError, match="SimpleNamespace is neither a diffusers pipeline"):
        denoiser(SimpleNamespace(unet=None))


def test_the_schedule_is_the_pipelines() -> None:
    scheduler = SimpleNamespace(config=SimpleNamespace(num_train_timesteps=200))
    assert schedule_length(SimpleNamespace(unet=None, scheduler=scheduler)) == 200
    assert schedule_length(make_host()) == SCHEDULE_LENGTH

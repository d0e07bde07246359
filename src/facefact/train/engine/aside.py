"""What is done aside while a training stands still; its random state, modes and weights are as before afterwards."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn


@contextlib.contextmanager
def aside(*modules: nn.Module | None) -> Iterator[None]:
    """Use modules for something else, in `eval` mode and without gradients; nothing of it is left in the training."""
    with kept_random_state(), evaluating(*modules), torch.no_grad():
        yield


@contextlib.contextmanager
def evaluating(*modules: nn.Module | None) -> Iterator[None]:
    """Modules in `eval` mode for a while; afterwards every submodule is in the mode that it was in."""
    modes = [(one, one.training) for module in modules if module is not None for one in module.modules()]
    for module in modules:
        if module is not None:
            module.eval()
    try:
        yield
    finally:
        for one, mode in modes:
            one.training = mode


@contextlib.contextmanager
def kept_random_state() -> Iterator[None]:
    """The generators of torch (all devices), numpy and Python go on afterwards as if nothing had been drawn."""
    of_numpy, of_python = np.random.get_state(), random.getstate()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            np.random.set_state(of_numpy)
            random.setstate(of_python)


@contextlib.contextmanager
def exchanged(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """The module with other weights for a while; those that `weights` does not name stay. ValueError: a name that the
    module does not have."""
    parameters = dict(module.named_parameters())
    if unknown := sorted(weights.keys() - parameters.keys()):
        raise ValueError(f"{type(module).__name__} has no parameter {unknown[0]}")
    kept = {name: parameters[name].detach().clone() for name in weights}

    @torch.no_grad()
    def put(values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            parameters[name].copy_(value)

    put(weights)
    try:
        yield
    finally:
        put(kept)

"""What is done aside leaves the training as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facefact.train.engine.aside import evaluating, exchanged, kept_random_state


def test_generators_go_on() -> None:
    torch.manual_seed(4)
    with kept_random_state():
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), inside)


def test_a_mixture_of_modes_comes_back() -> None:
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    net[1].eval()
    modes = [one.training for one in net.modules()]
    with evaluating(net, None):
        assert not any(one.training for one in net.modules())
    assert [one.training for one in net.modules()] == modes


def test_weights_are_exchanged_and_come_back_even_after_an_error() -> None:
    net = nn.Linear(2, 2)
    weight, bias = net.weight.detach().clone(), net.bias.detach().clone()

    def fail() -> None:
        assert not net.weight.any()
        assert torch.equal(net.bias, bias)
        raise RuntimeError

    with pytest.raises(RuntimeError), exchanged(net, {"weight": torch.zeros(2, 2)}):
        fail()
    assert torch.equal(net.weight, weight)
    with pytest.raises(ValueError, match="no parameter gates"), exchanged(net, {"gates": torch.zeros(1)}):
        pass

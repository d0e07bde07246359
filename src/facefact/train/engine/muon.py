"""Muon for matrices and convolutions (Jordan et al. 2024): momentum whose update is made orthogonal.

torch.optim.Muon takes matrices only; a convolution is a matrix too: (out, in * height * width).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from facefact.device import multiplies_natively

QUINTIC = (3.4445, -4.7750, 2.0315)  # Newton-Schulz coefficients of the original


@cache
def iteration_type(device_type: str) -> torch.dtype:
    """Bf16 is accurate enough for the iteration; float32 where the device has no products in it."""
    native = multiplies_natively(torch.device(device_type), torch.bfloat16)
    return torch.bfloat16 if native else torch.float32


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """About U V^T of the matrix U S V^T (singular values land in 0.7 to 1.2), by Newton-Schulz iteration."""
    x = (matrix / (matrix.norm() + 1e-7)).to(iteration_type(matrix.device.type))
    tall = x.shape[0] > x.shape[1]
    x = x.T.contiguous() if tall else x
    a, b, c = QUINTIC
    for _ in range(steps):  # a x + (b G + c G G) x with G = x x^T; one rounding a product
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Update size matched to AdamW's (0.2 sqrt(max side), Liu et al. 2025), so that both share one learning rate."""

    def __init__(self, parameters: Any, *, lr: float, weight_decay: float = 0.0, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(state["momentum"], group["momentum"]).flatten(1)  # Nesterov
                update = orthogonal(update) * (0.2 * max(update.shape) ** 0.5)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.view_as(parameter), alpha=-group["lr"])

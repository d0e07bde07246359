"""Matrix products of linear layers, by the library that was measured to be faster for the device and the type."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# PyTorch's own name for oneDNN's product, and not a public one: probed, and done without where it does not work.
_onednn: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _cpu_prefers_onednn() -> bool:
    """x86 with AVX2 or AVX-512 and without AMX. On one core of a Zen 5 PyTorch's choice takes 2.1 times as long in
    float32 and 1.03 times in bfloat16 (held to AVX2: 1.1 to 1.2 times in float32); and a gelu behind the product costs
    nothing here."""
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return torch.backends.cpu.get_cpu_capability() in ("AVX512", "AVX2") and not amx()


CPU_PREFERS_ONEDNN = _cpu_prefers_onednn()


def works(product: Any, dtype: torch.dtype) -> bool:
    """Whether oneDNN's product does its work here in this type: an old processor has none in bfloat16, another PyTorch
    may take other arguments. Tried on a product whose result is known."""
    a, b = torch.full((3, 8), 0.5, dtype=dtype), torch.full((4, 8), 2.0, dtype=dtype)
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            return torch.equal(product(a, b, None, "none", [], ""), torch.full((3, 4), 8.0, dtype=dtype))
    except Exception:  # whatever a private operation raises
        return False


# In which types oneDNN multiplies on this machine: probed once.
ONEDNN_TYPES = frozenset(dtype for dtype in (torch.float32, torch.bfloat16) if works(_onednn, dtype))


def times_transposed(a: Tensor, b: Tensor) -> Tensor:
    """a b^T. a: (n, c), b: (m, c) -> (n, m), on a CPU, without gradients."""
    return _onednn(a, b, None, "none", [], "") if a.dtype in ONEDNN_TYPES else F.linear(a, b)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    """x W^T + b, and the erf form of gelu of it. x: (..., c), weight: (m, c) -> (..., m)."""
    if _onednn_is_faster(x, weight):
        return _onednn(x, weight, bias, "gelu" if gelu else "none", [], "none" if gelu else "")
    y = F.linear(x, weight, bias)
    return F.gelu(y) if gelu else y


def project(layer: nn.Linear, x: Tensor) -> Tensor:
    """What the layer makes of x (..., c) -> (..., m), whoever may have changed it."""
    return linear(x, layer.weight, layer.bias) if is_bare(layer, x) else layer(x)


def is_bare(layer: Any, x: Tensor) -> bool:
    """Whether the weights may be used on x (any shape) without the module: no LoRA, no hook (offloading), and
    they are there."""
    return (
        type(layer) is nn.Linear
        and isinstance(layer.__dict__.get("forward"), (FastLinear, type(None)))
        and not layer._forward_hooks
        and not layer._forward_pre_hooks
        and layer.weight.device == x.device
    )


class FastLinear:
    """Stands, as the attribute `forward` of a linear layer, before the method of that name."""

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer

    def __call__(self, x: Tensor) -> Tensor:
        """x: (..., c) -> (..., m)."""
        return linear(x, self.layer.weight, self.layer.bias)


def _onednn_is_faster(x: Tensor, weight: Tensor) -> bool:
    """x: (..., c), weight: (m, c)."""
    return (
        CPU_PREFERS_ONEDNN
        and x.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in ONEDNN_TYPES
        and x.numel() > 0
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )

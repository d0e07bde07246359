"""Where the numbers live: the device and the floating-point type, chosen sensibly unless the user says otherwise."""

from __future__ import annotations

import torch

from facefact.types import UserError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SHORT = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def choose_device(name: str | None = None) -> torch.device:
    """The named device, or the best one there is: CUDA, else MPS, else the CPU. UserError: unknown or not here."""
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name is None:
        return torch.device(next(kind for kind, there in here.items() if there))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"unknown device {name!r}: say cuda, cuda:0, mps or cpu") from error
    if not here.get(device.type, False):
        there = ", ".join(kind for kind, there in here.items() if there)
        raise UserError(f"device {name!r} is not available to PyTorch {torch.__version__} here; available: {there}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"there is no {name}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    return device


def choose_dtype(device: torch.device, name: str | None = None) -> torch.dtype:
    """The named type, or what the device does well: CUDA bfloat16 (float16 before Ampere), MPS float16, CPU float32."""
    if name is not None:
        full = SHORT.get(name, name)
        if full not in DTYPES:
            raise UserError(f"unknown dtype {name!r}: say {', '.join([*DTYPES, *SHORT])}")
        return DTYPES[full]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32

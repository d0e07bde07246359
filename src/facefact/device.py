"""Where the numbers live: the device and the floating-point type, chosen sensibly unless the user says otherwise."""

from __future__ import annotations

import logging
import platform
import time
from functools import cache

import torch

from facefact.types import UserError

log = logging.getLogger("facefact")

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SHORT = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
# Times of float32's product from which one is emulated. Emulated ones take 5 to 20; native ones 0.3 to 0.5, or about 1
# where many threads share a product so short that they mostly wait for each other.
EMULATED = 2.0


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
        warn_of_emulation(device.type, full)
        return DTYPES[full]
    if device.type == "cuda":
        return torch.bfloat16 if multiplies_natively(device, torch.bfloat16) else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32


def training_device() -> torch.device:
    """Where trainings run: CUDA, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_precision(device: torch.device, name: str = "auto") -> str:
    """fp32, bf16 or fp16: the named one, or for "auto" bf16 where the device multiplies it natively, else fp32. (fp16
    needs its gradients scaled: never chosen, only asked for.) UserError: none of these names."""
    if name not in ("auto", *SHORT):
        raise UserError(f"unknown precision {name!r}: say {', '.join(['auto', *SHORT])}")
    if name != "auto":
        warn_of_emulation(device.type, SHORT[name])
        return name
    return "bf16" if multiplies_natively(device, torch.bfloat16) else "fp32"


def multiplies_natively(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether matrix products in this type are the device's own work, and no emulation.

    On a CPU both what it says of itself (AVX512-BF16, AMX, ARM's bf16; not more than PyTorch and oneDNN are allowed to
    use) and a short timed product (`EMULATED`) have to say so.
    """
    if dtype == torch.float32:
        return True
    if device.type == "cuda":
        return dtype == torch.float16 or torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return dtype == torch.bfloat16 and _cpu_has_bf16() and cpu_time_of(dtype) < EMULATED
    return dtype == torch.float16


def _cpu_has_bf16() -> bool:
    """By what PyTorch's private questions answer; a version without them has the timed product alone to go by."""
    onednn = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # heeds ONEDNN_MAX_CPU_ISA; emulation counts
    if onednn is not None and not onednn():
        return False
    asked = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")]
    known = [ask() for ask in asked if ask is not None]
    return platform.machine().lower() not in ("x86_64", "amd64") or not known or any(known)


@cache
def cpu_time_of(dtype: torch.dtype) -> float:
    """How long a product in this type takes on this CPU, in times of float32's. Some milliseconds, once a process.

    The shortest of five of each, taken in turn: what else the machine does slows both."""
    times: dict[torch.dtype, list[float]] = {dtype: [], torch.float32: []}
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for _ in range(6):
            for kind, own in times.items():
                a = torch.ones(192, 192, dtype=kind)
                began = time.perf_counter()
                torch.nn.functional.linear(a, a)
                own.append(time.perf_counter() - began)
    shortest = {kind: min(own[1:]) for kind, own in times.items()}  # (the first ones make the kernels)
    return shortest[dtype] / max(shortest[torch.float32], 1e-9)


@cache
def warn_of_emulation(device_type: str, name: str) -> None:
    """One warning a process when a type was asked for in which this CPU multiplies slowly."""
    if device_type == "cpu" and name != "float32" and (times := cpu_time_of(DTYPES[name])) >= EMULATED:
        log.warning(
            "warning: this processor has no %s products and emulates them: expect about %.0f times the time of fp32",
            name,
            times,
        )

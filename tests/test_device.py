"""Device and number type: what is asked for, what is native, and what `auto` means."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys

import pytest
import torch

from facefact import device as module
from facefact.device import choose_device, choose_dtype, choose_precision, multiplies_natively
from facefact.types import UserError

CPU = torch.device("cpu")


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch):
    """(says that it has bf16, times of a product in it against float32's): the CPU that the functions see."""

    def pretend(says: bool, time: float) -> None:
        monkeypatch.setattr(module, "_cpu_has_bf16", lambda: says)
        monkeypatch.setattr(module, "cpu_time_of", lambda dtype: time)
        module.warn_of_emulation.cache_clear()

    yield pretend
    module.warn_of_emulation.cache_clear()


def test_names_of_devices_and_types() -> None:
    assert choose_device("cpu") == CPU
    assert choose_dtype(CPU) == torch.float32
    assert choose_dtype(CPU, "fp32") == choose_dtype(CPU, "float32") == torch.float32
    with pytest.raises(UserError, match="unknown device 'gpu'"):
        choose_device("gpu")
    with pytest.raises(UserError, match="unknown dtype 'half'"):
        choose_dtype(CPU, "half")
    with pytest.raises(UserError, match="unknown precision 'half': say auto, fp32"):
        choose_precision(CPU, "half")


def test_the_processor_is_asked_and_timed_as_it_may_be_used() -> None:
    """oneDNN kept from AVX-512 has no bf16, whatever the processor could do."""
    code = "import torch; from facefact.device import choose_precision; print(choose_precision(torch.device('cpu')))"
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "fp32" or platform.machine().lower() not in ("x86_64", "amd64")


@pytest.mark.parametrize(
    ("says", "time", "precision"),
    [(True, 0.4, "bf16"), (True, 7.0, "fp32"), (False, 7.0, "fp32"), (False, 0.4, "fp32")],
)
def test_auto_is_bf16_where_processor_and_clock_agree(processor, says: bool, time: float, precision: str) -> None:
    processor(says, time)
    assert choose_precision(CPU) == precision
    assert choose_precision(CPU, "fp32") == "fp32"
    assert choose_precision(CPU, "bf16") == "bf16", "what was asked for"
    assert multiplies_natively(CPU, torch.float32)


def test_an_emulated_type_that_was_asked_for_is_warned_of_once(processor, caplog) -> None:
    processor(False, 6.9)
    with caplog.at_level(logging.WARNING, "facefact"):
        assert choose_dtype(CPU, "bf16") == torch.bfloat16
        choose_precision(CPU, "bf16")
        choose_precision(CPU, "fp32")
    assert [record.getMessage() for record in caplog.records] == [
        "warning: this processor has no bfloat16 products and emulates them: expect about 7 times the time of fp32"
    ]


def test_this_machine_answers() -> None:
    """What the capability check says and what the clock says go together, here as everywhere."""
    assert module.cpu_time_of(torch.float32) == pytest.approx(1, rel=2)
    if multiplies_natively(CPU, torch.bfloat16):
        assert module.cpu_time_of(torch.bfloat16) < module.EMULATED

"""Nobody waits for what is not used: help and imports start at once."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from facefact.apps.cli import COMMANDS

HEAVY = ("torch", "diffusers", "transformers", "numpy", "cv2", "PIL", "yaml")


def loaded(code: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has imported after `code`."""
    ask = f"{code}\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()) if done.stdout.splitlines() else set()


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert loaded("import facefact, facefact.apps.cli") == set()


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_neither_pytorch_nor_diffusers(command) -> None:
    code = f"from facefact.apps.cli import main\ntry: main([*'{command}'.split(), '--help'])\nexcept SystemExit: pass"
    assert not loaded(code) & {"torch", "diffusers", "transformers"}


def seconds(*command: str) -> float:
    """The fastest of three."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return min(times)


def test_the_start_is_a_fraction_of_importing_pytorch() -> None:
    """0.05 s and 0.1 s where PyTorch takes 1.5 s (limits: 0.3 and 0.5)."""
    torch = seconds("-c", "import torch")
    assert seconds("-c", "import facefact") < 0.2 * torch
    assert seconds("-m", "facefact", "--help") < 0.33 * torch

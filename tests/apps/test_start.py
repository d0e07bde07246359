"""Nobody waits for what is not used: help and imports start at once."""

from __future__ import annotations

import subprocess
import sys
import time

HEAVY = ("torch", "diffusers", "transformers", "numpy", "cv2", "PIL", "yaml")


def loaded(code: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has imported after `code`."""
    ask = f"{code}\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()) if done.stdout.splitlines() else set()


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert loaded("import facefact, facefact.apps.cli") == set()


HELP = """
import contextlib, io, sys
from facefact.apps.cli import COMMANDS, main
first = ([], ["generate"], ["inpaint"], ["models"])
for words in (*first, *([name] for name in COMMANDS if [name] not in first)):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main([*words, "--help"])
    heavy = {"torch", "diffusers", "transformers"} | ({"numpy", "cv2", "PIL"} if words in first else set())
    assert not heavy & sys.modules.keys(), (words, heavy & sys.modules.keys())
"""


def test_help_imports_neither_pytorch_nor_diffusers() -> None:
    """Nor numpy, where a newcomer looks first."""
    loaded(HELP)


def seconds(*command: str, times: int = 3) -> float:
    """The fastest."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        took.append(time.perf_counter() - began)
    return min(took)


def test_the_start_is_a_fraction_of_importing_pytorch() -> None:
    """0.05 s and 0.1 s where PyTorch takes 1.5 s (limits: 0.3 and 0.5)."""
    torch = seconds("-c", "import torch", times=1)
    assert seconds("-c", "import facefact") < 0.2 * torch
    assert seconds("-m", "facefact", "--help") < 0.33 * torch

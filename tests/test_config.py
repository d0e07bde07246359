from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import torch

from facefact.config import load_config
from facefact.device import choose_device, choose_dtype
from facefact.types import UserError


@dataclass(frozen=True)
class Optim:
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    kind: Literal["adamw", "muon"] = "adamw"


@dataclass(frozen=True)
class Train:
    steps: int
    optim: Optim = field(default_factory=Optim)
    widths: tuple[int, ...] = (1, 2)
    out: Path | None = None
    ema: bool = True
    weights: dict[str, float] = field(default_factory=dict)


def write(directory: Path, text: str) -> Path:
    path = directory / "train.yaml"
    path.write_text(text)
    return path


def test_a_file_becomes_a_tree(tmp_path: Path) -> None:
    text = "steps: 3\noptim: {lr: 1e-4, betas: [0, 0.5]}\nwidths: [4, 5, 6]\nout: runs/a\nweights: {fair: 1}"
    path = write(tmp_path, text)
    assert load_config(Train, path) == Train(
        steps=3,
        optim=Optim(lr=1e-4, betas=(0.0, 0.5)),
        widths=(4, 5, 6),
        out=Path("runs/a"),
        weights={"fair": 1.0},
    )


def test_overrides_win_and_reach_inside(tmp_path: Path) -> None:
    path = write(tmp_path, "steps: 3\noptim: {lr: 1}")
    config = load_config(Train, path, overrides=["optim.lr=2e-5", "optim.kind=muon", "ema=false", "out=null"])
    assert config == Train(steps=3, optim=Optim(lr=2e-5, kind="muon"), ema=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz: 3", "unknown setting stepz: did you mean steps?"),
        ("steps: 3\noptim: {larning: 1}", "unknown setting optim.larning; known: lr, betas, kind"),
        ("optim: {}", "setting steps is missing"),
        ("steps: many", "setting steps must be int, not 'many'"),
        ("steps: true", "setting steps must be int, not True"),
        ("steps: 3\noptim: 4", "setting optim is a group of settings, not 4"),
        ("steps: 3\noptim: {kind: sgd}", "setting optim.kind: 'sgd' is not one of adamw, muon"),
        ("steps: 3\noptim: {betas: [1]}", "setting optim.betas must have 2 items, not 1"),
        ("steps: 3\nwidths: [1, x]", r"setting widths\[1\] must be int, not 'x'"),
        ("- 3", "holds no `key: value` settings"),
        ("steps: [", "is not YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config(Train, write(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [("steps", "is no setting"), ("=3", "is no setting"), ("steps.x=1", "steps is a value"), ("steps=[", "YAML value")],
)
def test_bad_overrides_are_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(Train, write(tmp_path, "steps: 3"), overrides=[override])


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the settings"):
        load_config(Train, tmp_path / "none.yaml")


def test_device_and_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")
    assert choose_dtype(torch.device("cpu")) == torch.float32
    assert choose_dtype(torch.device("mps")) == torch.float16
    assert choose_dtype(torch.device("cpu"), "bf16") == torch.bfloat16
    for name, message in [("gpu", "unknown device"), ("cuda", "not available")]:
        with pytest.raises(UserError, match=message):
            choose_device(name)
    with pytest.raises(UserError, match="unknown dtype"):
        choose_dtype(torch.device("cpu"), "int8")


def test_an_accelerator_is_taken_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device() == torch.device("cuda")
    with pytest.raises(UserError, match="there is no cuda:1"):
        choose_device("cuda:1")
    for supported, dtype in [(True, torch.bfloat16), (False, torch.float16)]:
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True, yes=supported: yes)
        assert choose_dtype(torch.device("cuda")) == dtype

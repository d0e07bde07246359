"""configs/prepare.yaml shows every setting of the preparation with its default."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import yaml

from facefact.config import load_config
from facefact.data.prepare_config import PrepareConfig

FILE = Path(__file__).parents[2] / "configs" / "prepare.yaml"


def test_the_file_is_the_defaults() -> None:
    assert load_config(PrepareConfig, FILE) == PrepareConfig()


def test_the_file_leaves_no_setting_out() -> None:
    shown = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    known = asdict(PrepareConfig())
    assert list(shown) == list(known)
    for group, values in known.items():
        if isinstance(values, dict):
            assert list(shown[group]) == list(values), f"in {group}, in this order"


def test_every_setting_has_its_reason() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    settings = [line for line in lines if ":" in line.partition("#")[0] and not line.partition("#")[0].endswith(":")]
    assert len(settings) > 30
    without = [line for line in settings if not line.partition("#")[2].strip()]
    assert not [line for line in without if line.strip().rstrip(":") not in asdict(PrepareConfig())]

"""configs/prepare.yaml shows every setting of the preparation with its default; senseless numbers are refused."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from facefact.config import load_config
from facefact.data.duplicates import MAX_DISTANCE
from facefact.data.prepare_config import LIMITS, PrepareConfig, check_limits
from facefact.types import UserError

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


@pytest.mark.parametrize(
    "change", ["chunk=0", "decode.max_side=0", "duplicates.distance=40", "write.shard=0", "write.quality=101"]
)
def test_a_number_with_which_nothing_works_is_refused(change: str) -> None:
    with pytest.raises(UserError, match=f"setting {change.partition('=')[0]} is .* possible"):
        check_limits(load_config(PrepareConfig, overrides=[change]))


def test_the_defaults_and_the_ends_of_the_limits_pass() -> None:
    check_limits(PrepareConfig())
    check_limits(load_config(PrepareConfig, overrides=["duplicates.distance=null"]))
    for key, ends in LIMITS.items():
        for end in ends:
            if end is not None:
                check_limits(load_config(PrepareConfig, overrides=[f"{key}={end}"]))
    assert LIMITS["duplicates.distance"] == (0, MAX_DISTANCE)

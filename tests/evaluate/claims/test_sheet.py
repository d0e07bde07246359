"""What a sheet of methods remembers, and of whom."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from facefact.evaluate.claims.plan import Method, Run
from facefact.evaluate.claims.sheet import first_cases, pictures_of
from facefact.evaluate.protocol import protocol


def test_it_shows_one_case_of_each_of_the_first_people() -> None:
    plan = protocol(11, people=6, per_person=2)
    few = first_cases(plan, 4)
    assert few.cases == plan.cases[0:8:2]
    assert few.people == plan.people[:4]
    assert first_cases(plan, 9) == first_cases(plan, 6)


def test_pictures_are_painted_once_for_what_they_were_made_of(tmp_path: Path) -> None:
    painted: list[float] = []

    def paint(plan: Any, method: Method, adapter: Any, scale: float, title: str) -> np.ndarray:
        painted.append(scale)
        return np.random.default_rng(len(painted)).integers(0, 256, (4, 8, 8, 3), np.uint8)

    def bench(scale: float) -> Any:
        return SimpleNamespace(
            asked=SimpleNamespace(scale=scale),
            about={"seed": 11},
            adapter_of=lambda run, method: None,
            decided_by=lambda method, adapter, scale: {"scale": scale},
            pictures=paint,
        )

    few = first_cases(protocol(11, people=4, per_person=1), 4)
    run, method = Run("base", 1, None, tmp_path / "base", tmp_path / "base"), Method(way="base")
    first = pictures_of(run, method, few, bench(0.7))
    assert (pictures_of(run, method, few, bench(0.7)) == first).all()
    assert painted == [0.7]
    with Image.open(run.folder / "pictures.png") as strip:
        assert strip.size == (4 * 8, 8)  # one can look at it
    assert (pictures_of(run, method, few, bench(1.0)) != first).any()
    assert painted == [0.7, 1.0]

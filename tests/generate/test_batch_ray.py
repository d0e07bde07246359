"""A table of jobs with Ray Data: files, recipes and index are those of this process alone."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.data.ray_engine import import_ray, start
from facefact.generate import Settings, Studio
from facefact.generate.batch import LocalEngine, make_batch
from facefact.generate.batch_ray import RayEngine, Worker, taken
from facefact.generate.batch_table import BadRow, Row
from facefact.generate.provenance import Provenance
from facefact.generate.watermark import find_mark
from facefact.types import UserError
from facefact.world import look, person, render
from tiny import save_tiny_model

pytest.importorskip("ray.data")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One for all tests: its start takes seconds, and so does each worker's import of PyTorch and diffusers."""
    ray = import_ray()
    start(ray, None, 2)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def rows(tmp_path: Path) -> list[Row | BadRow]:
    for number in range(3):
        Image.fromarray(render(person(number), look(number), size=128).image).save(tmp_path / f"{number}.png")
    settings = Settings(prompt="a coat", steps=2)
    good = [Row(n, f"row-{n}", (tmp_path / f"{n % 3}.png",), settings, count=3) for n in range(1, 5)]
    return [*good, Row(5, "row-5", (tmp_path / "missing.png",), settings), BadRow(6, "row-6", "no prompt")]


def test_ray_makes_what_one_machine_makes(model: Path, rows: list[Row | BadRow], tmp_path: Path) -> None:
    opened = partial(Studio.open, model=str(model), device="cpu")
    here = make_batch(rows, tmp_path / "here", LocalEngine(opened, batch=2), batch=2)
    assert (here.made, here.kept, len(here.failed)) == (12, 0, 2)
    files = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert len(files) == 13
    (tmp_path / "ray").mkdir()
    for name in files[1:5]:  # half a table is there already: whole batches of it, as others would be rounded otherwise
        shutil.copy(tmp_path / "here" / name, tmp_path / "ray")
    there = make_batch(rows, tmp_path / "ray", RayEngine(opened, batch=2, workers=2), batch=2)
    assert (there.made, there.kept, len(there.failed)) == (8, 4, 2)
    assert files == sorted(path.name for path in (tmp_path / "ray").iterdir())
    for name in files:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes(), name


def test_what_ray_makes_is_marked(model: Path, rows: list[Row | BadRow], tmp_path: Path) -> None:
    opened = partial(Studio.open, model=str(model), device="cpu")
    row, small = (one for one in rows[:2] if isinstance(one, Row))
    row = replace(row, settings=replace(row.settings, width=128, height=128), count=1)
    made = make_batch([row, small], tmp_path / "ray", RayEngine(opened), provenance=Provenance(watermark=True))
    assert (made.made, len(made.failed)) == (1, small.count)
    assert "too small for the invisible mark" in str(made.failed[0].error)
    with Image.open(tmp_path / "ray/row-1-0.png") as image:
        assert find_mark(np.asarray(image)).found


def test_a_model_that_a_worker_cannot_open_is_the_users_error(tmp_path: Path) -> None:
    """What an actor answers, and what becomes of the answer, without starting one."""
    worker = Worker(partial(Studio.open, model=str(tmp_path / "nothing")), 1)
    answer = pickle.loads(worker({"chunk": pickle.dumps([])})["answer"])
    with pytest.raises(UserError, match="no model"):
        taken(answer, set())

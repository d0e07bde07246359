"""`facefact prepare` as a user runs it: options, what is said, and the way from photos to a portrait."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.apps.cli import main
from portraits import people

pytest.importorskip("pyarrow")

CONFIGS = Path(__file__).parents[2] / "configs"
AVATARS = [
    "--set",
    "face={detector: avatar, min_size: 24}",
    "--set",
    "cover={hands: 'off', max_covered: 1.0}",
    "--set",
    "people={recogniser: none, validation: 0.2}",
    "--workers",
    "0",
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    return people(tmp_path_factory.mktemp("in"), count=5, looks=3)


@pytest.fixture(scope="module")
def dataset(pictures, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "dataset"
    assert main(["prepare", str(pictures), "--out", str(out), *AVATARS]) == 0
    return out


def test_prepare_then_train_then_generate(dataset, tmp_path, capsys) -> None:
    """Each reads what the one before has made; validation is on the people that the dataset keeps for it."""
    from facefact.train.material.prepared import PreparedSource
    from facefact.train.material.sources import held_out, open_source
    from facefact.train.settings import Data

    source = open_source(Data(source=str(dataset)))
    assert isinstance(source, PreparedSource)
    assert held_out(source, Data()) == 1
    run = tmp_path / "run"
    plan = [
        "schedule.steps=2",
        "schedule.batch=4",
        "schedule.save_steps=2",
        "adapter.warm_up=null",
        "data.size=128",
        f"data.source={dataset}",
        "validation.every=0",
    ]
    overrides = [word for one in plan for word in ("--set", one)]
    assert main(["train", str(CONFIGS / "smoke.yaml"), "--out", str(run), *overrides]) == 0
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    photo = tmp_path / "me.png"
    Image.fromarray(source.dataset.read(source.rows[0]).image).save(photo)
    made = [
        "generate",
        "--face",
        str(photo),
        "--adapter",
        str(run / "adapter"),
        "--prompt",
        "a portrait, smiling",
        "--steps",
        "2",
        "--out",
        str(tmp_path / "portraits"),
    ]
    assert main(made) == 0
    (portrait,) = (tmp_path / "portraits").glob("*.png")
    assert np.asarray(Image.open(portrait)).std() > 5


def test_a_sample_for_training_is_what_was_prepared(dataset) -> None:
    from facefact.train.material.prepared import PreparedSource

    source = PreparedSource(dataset)
    people_of = [row.person for row in source.rows]
    assert people_of[-3:] == [people_of[-1]] * 3, "those of the validation come last"
    assert source.rows[-1].split == "validation"
    sample = source.sample(0, 128)
    assert sample is not None
    one = source.dataset.read(source.rows[0])
    assert np.array_equal(sample.head, one.crop)
    assert sample.face.mean() == pytest.approx(one.face.mean(), abs=0.01)
    inside = sample.landmarks.round().astype(int)
    assert all(sample.face[y, x] > 0 for x, y in inside), "the landmarks moved with the picture"
    assert source.sample(0, 1024) is None
    assert source.why_not(0) == (source.rows[0].name, "too few pixels (160x160): less than half of 1024")


def test_it_says_what_was_made_and_that_it_is_there_already(dataset, pictures, capsys) -> None:
    again = ["prepare", str(pictures), "--out", str(dataset), *AVATARS]
    assert main([*again, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["inputs"], said["kept"], said["people"], said["again"]) == (15, 15, 5, True)
    assert main(again) == 0
    assert "is prepared already: 15 samples of 5 people" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["{in}/nowhere", "--out", "{out}"], "there is nothing at"),
        (["{in}", "--out", "{out}", "--workers", "-1"], "--workers -1"),
        (["{in}", "--out", "{out}", "--engine", "ray", "--workers", "0"], "--workers 0"),
        (["{in}", "--out", "{out}", "--ray-address", "auto"], "--ray-address is of --engine ray"),
        (["{in}", "--out", "{out}", "--set", "face.min_sise=3"], "did you mean min_size"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, capsys, arguments, line) -> None:
    source = people(tmp_path / "in", count=1, looks=1)
    names = {"in": str(source), "out": str(tmp_path / "out")}
    assert main(["prepare", *(word.format(**names) for word in arguments)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert line in said[-1]
    assert not (tmp_path / "out" / "index.parquet").exists()

"""`recipe: adapter` from settings to a finished adapter, as a user runs it: made, resumed, refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from facefact import FaceAdapter
from facefact.apps.cli import main
from facefact.config import load_config
from facefact.train.adapter import run as adapter_run
from facefact.train.adapter.run import leak_batch, train_adapter
from facefact.train.engine.schedule import Schedule
from facefact.train.settings import AdapterTraining
from facefact.types import UserError

CONFIGS = Path(__file__).parents[3] / "configs"
TINY = """
recipe: adapter
schedule: {steps: 4, batch: 4, lr: 1.0e-3, warmup: 1, precision: fp32, save_steps: 2, seed: 1}
base: {source: "random:tiny"}
adapter:
  encoder: "random:tiny"
  resampler: {input_width: 32, width: 32, depth: 1, heads: 2, head_width: 16, queries: 4, output_width: 32}
  warm_up: {steps: 2, batch: 4, warmup: 1, precision: fp32, seed: 2}
data: {people: 6, looks: 3, size: 64, validation_people: 2}
condition: {shuffle: [[0, 0.0], [2, 1.0]], pictures: 2}
loss: {fair: [[0, 0.0], [3, 0.1]], identity: 0.1, identity_pictures: 2}
validation: {every: 4, people: 2, num_inference_steps: 2}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def run(config, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", str(config), "--out", str(out)]) == 0
    return out


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_explains_itself(run) -> None:
    for name in ("config.yaml", "environment.json", "metrics.jsonl", "report.html", "README.md", "curves.png"):
        assert (run / name).is_file(), name
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-2", "step-4"]
    assert {path.name for path in (run / "validation/step-4").iterdir()} >= {"sheet.png", "leak.png", "figures.json"}
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [one["step"] for one in records] == [1, 2, 3, 4]
    figures = json.loads((run / "validation/step-4/figures.json").read_text())
    assert figures["loss_people"] == 2
    assert figures["gap_other"] == pytest.approx(figures["loss_other"] - figures["loss_own"], abs=2e-6)
    assert "gap null" in (run / "report.html").read_text()
    assert set(records[0]) >= {
        "step",
        "loss",
        "diffusion",
        "fair",
        "lr",
        "seconds",
        "data_wait",
        "identity",
        "no_other_picture",
    }
    assert {one["no_other_picture"] for one in records} == {0.0}  # everybody has three
    leak = json.loads((run / "validation/step-4/figures.json").read_text())["leak"]
    assert (leak["samples"], leak["people"]) == (6, 2)  # all that are held out
    layers = FaceAdapter.from_pretrained(run / "adapter").layers
    assert {one["block"] for one in leak["by_layer"]} == set(layers.configs)


def test_people_of_one_picture_are_a_warning_before_the_first_step(config, tmp_path, capsys) -> None:
    """And then everything is learned without a face."""
    one = ["data.looks=1", "data.people=6", "condition.shuffle=1.0", "adapter.warm_up=null", "validation.every=0"]
    train_adapter(load_config(AdapterTraining, config, overrides=[*one, "schedule.steps=1"]), tmp_path / "run")
    said = capsys.readouterr().err
    assert "facefact: 4 of 4 people have one picture only" in said
    record = json.loads((tmp_path / "run/metrics.jsonl").read_text())
    assert record["no_other_picture"] == 1.0
    assert "people.min_pictures=2" in (tmp_path / "run/report.html").read_text()


def test_the_leak_meter_looks_at_eight_people(tmp_path) -> None:
    from parts import filled, frozen

    parts = frozen()
    cache = filled(tmp_path, parts, people=9, looks=3)
    config = AdapterTraining(Schedule(steps=1, batch=1))
    given = leak_batch(config, cache, parts)
    assert len(given["latents"]) == len(np.unique(given["person"])) == 8
    firsts = cache.gather(np.arange(0, 24, 3))
    assert torch.equal(given["latents"], firsts["latents"])
    assert not given["face_dropped"].any()


def test_the_result_is_an_adapter_for_its_base(run) -> None:
    from parts import frozen

    adapter = FaceAdapter.from_pretrained(run / "adapter")
    adapter.attach(frozen().unet)
    assert adapter.tokens(torch.zeros(2, 3, 112, 112)).face.shape == (1, 8, 32)
    assert adapter.about["recipe"]["schedule"]["steps"] == 4


def test_some_blocks_alone_are_trained_and_gone_on_from(config, run, tmp_path) -> None:
    """Fresh in `up_blocks`; then from the run's adapter, of which the other layers are left out."""
    some = ["adapter.blocks=[up_blocks]", "validation.every=0", "loss.identity=0", f"data.cache={run / 'cache'}"]
    whole = FaceAdapter.from_pretrained(run / "adapter")
    for name, more in (("fresh", []), ("on", [f"adapter.start={run / 'adapter'}", "adapter.warm_up=null"])):
        made = train_adapter(load_config(AdapterTraining, config, overrides=[*some, *more]), tmp_path / name)
        adapter = FaceAdapter.from_pretrained(made)
        assert adapter.layers.carrying == ("up_blocks",)
        assert list(adapter.layers.configs) == [one for one in whole.layers.configs if one.startswith("up_blocks")]
        weights = dict(adapter.layers.named_parameters())
        before = dict(whole.with_blocks(["up_blocks"]).layers.named_parameters())
        assert any(not torch.equal(weights[key], before[key]) for key in before)
    with pytest.raises(UserError, match=r"adapter\.blocks: no block"):
        train_adapter(load_config(AdapterTraining, config, overrides=["adapter.blocks=[middle]"]), tmp_path / "no")


def test_weights_do_not_say_where_they_were_made(config, tmp_path) -> None:
    where = f"data.cache={tmp_path / 'shared'}"
    made = train_adapter(
        load_config(AdapterTraining, config, overrides=[where, "validation.every=0"]), tmp_path / "run"
    )
    for path in (*made.rglob("*.json"), *made.rglob("*.md")):
        assert str(tmp_path) not in path.read_text(), path
    assert FaceAdapter.from_pretrained(made).about["recipe"]["data"]["cache"] == "shared"


def test_interrupted_and_started_again_the_losses_are_the_same(config, run, tmp_path, monkeypatch) -> None:
    settings = load_config(AdapterTraining, config)
    real = adapter_run.fit

    def dying(stage, batches, schedule, folder, **more):
        if folder != tmp_path / "again":
            return real(stage, batches, schedule, folder, **more)

        def until_3(number):
            for index, one in enumerate(batches(number), start=number):
                if index == 3:
                    raise ConnectionError("the node went away")
                yield one

        return real(stage, until_3, schedule, folder, **more)

    monkeypatch.setattr(adapter_run, "fit", dying)
    with pytest.raises(ConnectionError):
        train_adapter(settings, tmp_path / "again")
    monkeypatch.undo()
    train_adapter(settings, tmp_path / "again")
    assert losses(tmp_path / "again") == losses(run)
    ours, theirs = (FaceAdapter.from_pretrained(one / "adapter").content_hash() for one in (run, tmp_path / "again"))
    assert ours == theirs


def test_a_run_keeps_its_settings(config, run) -> None:
    with pytest.raises(UserError, match=r"begun with other settings \(loss.face_weight\)"):
        train_adapter(load_config(AdapterTraining, config, overrides=["loss.face_weight=2"]), run)
    free = load_config(AdapterTraining, config, overrides=["schedule.save_steps=1", "license=mit"])
    train_adapter(free, run)  # neither changes a weight


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.people=3", "training needs two besides|none is left|people"),
        ("data.size=60", "no multiple of 8"),
        ("base.source=no/such/folder", "neither a directory nor a hub id"),
        ("loss.fair=-1", r"loss.fair: -1"),
        ("schedule.steps=0", "at least 1"),
    ],
)
def test_what_is_wrong_is_said_before_step_0(config, tmp_path, override, message) -> None:
    with pytest.raises(UserError, match=message):
        train_adapter(load_config(AdapterTraining, config, overrides=[override]), tmp_path / "run")
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_a_file_that_does_not_say_what_it_trains_is_one_line(tmp_path, capsys) -> None:
    (tmp_path / "x.yaml").write_text("schedule: {steps: 1}\n")
    assert main(["train", str(tmp_path / "x.yaml")]) == 2
    assert "does not say what it trains" in capsys.readouterr().err
    assert main(["train", str(CONFIGS / "smoke.yaml"), "--only", "base"]) == 2
    assert "--only chooses parts" in capsys.readouterr().err

"""What the report says of each layer, from what a real leak meter wrote, and its warning where one does nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from live import LiveStage, samples

from facefact.train.adapter.leak_meter import measure_leak
from facefact.train.report.card import write_card
from facefact.train.report.layers import layers_of, leak_section, warnings
from facefact.train.report.page import write_report
from facefact.train.report.run_folder import RunFolder

pytest.importorskip("matplotlib")


def run_of(folder: Path, *closed: str) -> RunFolder:
    """A run whose one validation measured an adapter with closed gates in some blocks."""
    stage = LiveStage(gate=0.5)
    for name, layer in stage.adapter.layers.items():
        if name.startswith(closed):
            for alpha in (layer.alpha_attn, layer.alpha_dense):
                torch.nn.init.zeros_(alpha)
    table = measure_leak(stage.unet, stage.adapter, stage.scheduler, samples(4), (300, 700))
    looked = folder / "validation/step-1200"
    looked.mkdir(parents=True)
    figures = {"step": 1200, "people": 2.0, "pictures": 4.0, **table.figures(), "leak": table.as_json()}
    (looked / "figures.json").write_text(json.dumps(figures))
    return RunFolder.read(folder)


def test_layers_that_all_do_something_are_only_listed(tmp_path) -> None:
    run = run_of(tmp_path)
    assert warnings(run) == []
    section = leak_section(run)
    assert "Leak meter at step 1,200" in section
    assert "4 pictures of 4 held-out people" in section
    assert "warning" not in section
    for layer in layers_of(run.validations[-1]):
        assert layer.alive
        assert layer.name in section
        assert layer.inside.low < layer.inside.value < layer.inside.high
        assert f"{100 * layer.inside.value:.2f} [{100 * layer.inside.low:.2f}, " in section


def test_a_layer_that_adds_nothing_inside_the_face_is_named_on_page_and_card(tmp_path) -> None:
    run = run_of(tmp_path, "up_blocks.0", "mid_block")
    dead = [one for one in layers_of(run.validations[-1]) if one.block.startswith(("up_blocks.0", "mid_block"))]
    assert len(dead) == len(warnings(run)) - 1 > 0
    page = write_report(tmp_path).read_text()
    card = write_card(tmp_path).read_text()
    for one in dead:
        said = f"{one.name}: this layer adds nothing inside the face (0.0"
        assert said in page
        assert said in card
    command = f"facefact models prune ADAPTER --layers {' '.join(one.block for one in dead)} --out PRUNED"
    assert command in page
    assert command in card
    assert page.count('class="warning"') == len(dead) + 1
    (tmp_path / "config.yaml").write_text("schedule: {steps: 2000}")  # it goes on: the layer may come to life
    (tmp_path / "metrics.jsonl").write_text('{"step": 1200, "loss": 1.0}')
    assert len(warnings(RunFolder.read(tmp_path))) == len(dead)


def test_gates_that_are_still_closed_are_one_sentence(tmp_path) -> None:
    run = run_of(tmp_path, "down", "mid", "up")
    (said,) = warnings(run)
    assert "no layer adds anything inside the face at step 1,200" in said
    assert "prune" not in said


@pytest.mark.parametrize(
    "leak",
    [
        None,
        3,
        {"layers": []},
        {"by_layer": [{"block": "a"}]},
        {"by_layer": 5},
        {"by_layer": [{"block": "a", "name": "a", "outside": {"value": "x"}, "inside": {}}]},
    ],
)
def test_what_an_older_or_broken_validation_says_is_left_out(tmp_path, leak) -> None:
    looked = tmp_path / "validation/step-3"
    looked.mkdir(parents=True)
    (looked / "figures.json").write_text(json.dumps({"rank1": 0.5, "leak": leak}))
    run = RunFolder.read(tmp_path)
    assert warnings(run) == []
    assert leak_section(run) == ""
    write_report(tmp_path)

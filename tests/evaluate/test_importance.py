"""`facefact eval layers`: what is lost without layers, and a table that goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facefact.apps import cli
from facefact.evaluate import importance
from facefact.evaluate.importance import markdown, one_by_one, scales, table
from facefact.face_adapter import FaceAdapter
from facefact.types import UserError

BLOCKS = (
    "down_blocks.1.attentions.0.transformer_blocks.0",
    "up_blocks.1.attentions.0.transformer_blocks.0",
    "up_blocks.10.attentions.0.transformer_blocks.0",
    "up_blocks.1.attentions.1.transformer_blocks.0",
    "mid_block.attentions.0.transformer_blocks.0",
)


def test_each_layer_alone_and_then_what_several_make_up() -> None:
    assert one_by_one(BLOCKS) == [*((name,) for name in BLOCKS), ("up_blocks.1",), ("up_blocks",)]


def test_what_is_left_out_has_the_scale_0_and_all_else_its_own() -> None:
    found = scales(BLOCKS, ("up_blocks.1", "mid_block"), 0.7)
    assert found == dict(zip(BLOCKS, (0.7, 0.0, 0.7, 0.0, 0.0), strict=True))
    assert scales(BLOCKS, (), 0.7) == 0.7


def test_what_is_lost_is_paired() -> None:
    from facefact.demo import bundle_path

    adapter = FaceAdapter.from_pretrained(bundle_path() / "adapter")
    own, rng = np.repeat(np.arange(10), 2), np.random.default_rng(0)
    whole = rng.uniform(0.2, 0.9, 20)
    samples = {
        (): {"rank1": [1.0] * 20, "cos_own": whole.tolist()},
        ("up_blocks",): {"rank1": [0.0, 1.0] * 10, "cos_own": (whole - 0.1).tolist()},
    }
    rows = table(samples, adapter, own)
    assert rows[1]["lost"]["cos_own"] == {"value": 0.1, "low": 0.1, "high": 0.1, "n": 20}  # to the last picture
    assert rows[1]["lost"]["rank1"]["value"] == 0.5
    assert rows[1]["layers"] == sum(name.startswith("up_blocks") for name in adapter.layers.configs)
    assert rows[1]["weights"] == sum(
        weight.numel() for name, weight in adapter.layers.named_parameters() if name.startswith("up_blocks")
    )
    assert (rows[0]["layers"], rows[0]["weights"]) == (0, 0)


def test_the_command_measures_what_its_table_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["eval", "layers", "--json", str(tmp_path / "a.json"), "--people", "2", "--steps", "1", "--device", "cpu"]
    assert cli.main([*call, "--without", "mid_block,down_blocks"]) == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert [row["without"] for row in found["rows"][2:]] == [["mid_block", "down_blocks"]]
    assert found["rows"][1]["layers"] == 7
    assert found["rows"][1]["lost"]["cos_own"]["value"] != 0
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert "| mid_block, down_blocks | " in capsys.readouterr().out

    def never(*args: object, **more: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(importance.Painter, "adapted", never)
    assert cli.main([*call, "--without", "mid_block,down_blocks"]) == 0
    assert json.loads((tmp_path / "a.json").read_text()) == found
    assert markdown(found) in capsys.readouterr().out
    assert cli.main([*call, "--without", "middle"]) == 2
    assert "no layer of this adapter is in middle" in capsys.readouterr().err
    assert cli.main([*call, "--seed", "2"]) == 2
    assert "other settings" in capsys.readouterr().err
    (tmp_path / "a.json").write_text("{}")
    assert cli.main(call) == 2


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text('{"models": {}, "rows": []}')
    with pytest.raises(UserError, match="no table of `facefact eval layers`"):
        importance.read_samples(tmp_path / "b.json", {})

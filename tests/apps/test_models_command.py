"""`facefact models prune`: an adapter without the layers that do nothing draws as the whole one does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facefact import FaceAdapter
from facefact.apps.cli import main
from facefact.checkpoint import load
from tiny import tiny_adapter, tiny_pipeline

BLOCK = "up_blocks.1.attentions.0"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """An adapter of which the layer in BLOCK does nothing, stored in half precision, with a card."""
    adapter = tiny_adapter(tiny_pipeline())
    for name, layer in adapter.layers.items():
        if name.startswith(BLOCK):
            torch.nn.init.zeros_(layer.alpha_attn)
            torch.nn.init.zeros_(layer.alpha_dense)
    adapter.save_pretrained(tmp_path / "adapter", dtype=torch.float16, about={"who": "somebody"})
    (tmp_path / "adapter/README.md").write_text("---\nlicense: mit\n---\n\n# Mine\n", encoding="utf-8")
    return tmp_path / "adapter"


def prune(adapter: Path, out: Path, *layers: str) -> int:
    return main(["models", "prune", str(adapter), "--layers", *layers, "--out", str(out)])


@torch.no_grad()
def answer(folder: Path) -> torch.Tensor:
    """Of the U-Net, with a face."""
    unet = tiny_pipeline().unet
    adapter = FaceAdapter.from_pretrained(folder).attach(unet)
    tokens = adapter.tokens(torch.zeros(1, 3, 112, 112))
    sample, text = torch.ones(2, 4, 8, 8), torch.ones(2, 7, 32)
    return unet(sample, 500, text, cross_attention_kwargs=adapter.condition(tokens)).sample


def test_the_pruned_adapter_answers_as_the_whole_one(saved, tmp_path, capsys) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    assert prune(saved, tmp_path / "pruned", BLOCK) == 0
    assert f"without 1 of {len(FaceAdapter.from_pretrained(saved).layers)} layers: {BLOCK}" in capsys.readouterr().out
    assert torch.equal(answer(tmp_path / "pruned"), answer(saved))
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    state, _ = load(tmp_path / "pruned")
    assert not any(BLOCK in name for name in state)
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float16}
    assert FaceAdapter.from_pretrained(tmp_path / "pruned").about == {"who": "somebody"}
    card = (tmp_path / "pruned/README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: mit")
    assert f"- `{BLOCK}" in card


def test_it_can_be_pruned_again_and_a_living_layer_is_missed(saved, tmp_path) -> None:
    assert prune(saved, tmp_path / "once", BLOCK) == 0
    assert prune(tmp_path / "once", tmp_path / "twice", "mid_block", "down_blocks.0") == 0
    left = FaceAdapter.from_pretrained(tmp_path / "twice").layers.configs
    assert not any(name.startswith((BLOCK, "mid_block", "down_blocks.0")) for name in left)
    assert not torch.equal(answer(tmp_path / "twice"), answer(saved))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["up_blocks.7"], "has no layer in up_blocks.7; it has them in down_blocks.0.attentions.0"),
        (["up_block"], "has no layer in up_block;"),
        (["down_blocks", "mid_block", "up_blocks"], "leave one in at least"),
    ],
)
def test_what_cannot_be_taken_out_is_said(saved, tmp_path, capsys, layers, message) -> None:
    assert prune(saved, tmp_path / "pruned", *layers) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "pruned").exists()


def test_nothing_is_overwritten(saved, tmp_path, capsys) -> None:
    assert prune(saved, saved, BLOCK) == 2
    assert "is already there" in capsys.readouterr().err

"""The whole of FaceAdapter through a second seam, for a model that is no U-Net: a row of plain transformer blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hosts import make_tokens
from torch import Tensor, nn

from facefact import FaceAdapter, UserError
from facefact.adapter import AdapterLayers, Attachment, FaceCondition, LayerConfig, Seam, token_width
from facefact.adapter.attachment import LayerPort
from facefact.encoder import ResamplerConfig, TransFace, TransFaceConfig

WIDTH, TEXT = 8, 12


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.face: LayerPort | None = None

    def forward(self, x: Tensor, condition: FaceCondition | None) -> Tensor:
        """x: (b, n, WIDTH) -> the same."""
        x = x + self.mix(x).tanh()
        return x if self.face is None or condition is None else self.face(x, condition)


class Row(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.attachment: Attachment | None = None

    def forward(self, latents: Tensor, timestep: float, joint_attention_kwargs: dict[str, Any] | None = None) -> Tensor:
        """latents: (b, WIDTH, h, w) -> the same."""
        condition = (joint_attention_kwargs or {}).get("face")
        if self.attachment is not None and condition is not None:
            self.attachment.note_call(latents, timestep)
            condition = self.attachment.begin(condition)
        x = latents.flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x, condition)
        return x.transpose(1, 2).view_as(latents)


class RowSeam:
    def hosts(self, target: Any) -> dict[str, LayerConfig]:
        return {f"blocks.{i}": LayerConfig(width=WIDTH, token_width=TEXT, heads=2) for i in range(len(target.blocks))}

    def put(self, layers: AdapterLayers, target: Any) -> Attachment:
        if target.attachment is not None:
            raise UserError("taken")
        target.attachment = Attachment(target, schedule_length=1000, take_off=self.remove)
        for name, layer in layers.items():
            target.get_submodule(name).face = LayerPort(name, layer, target.attachment)
        return target.attachment

    def remove(self, target: Any) -> None:
        if target.attachment is not None:
            target.attachment.let_go()
            target.attachment = None
            for block in target.blocks:
                block.face = None

    def kwargs(self, condition: FaceCondition) -> dict[str, Any]:
        return {"face": condition}


SEAM: Seam = RowSeam()


def make_adapter(host: Row) -> FaceAdapter:
    encoder = TransFace(TransFaceConfig(patch_size=56, width=8, depth=1, heads=2, embedding_size=4))
    config = ResamplerConfig(input_width=8, width=8, depth=1, heads=2, head_width=4, queries=3, output_width=TEXT)
    return FaceAdapter.new(host, encoder=encoder, resampler_config=config, gate=1.0, seam=SEAM).eval()


@pytest.fixture
def host() -> Row:
    torch.manual_seed(0)
    return Row().eval()


def run(host: Row, kwargs: dict[str, Any] | None = None, *, timestep: float = 500) -> Tensor:
    latents = torch.randn((1, WIDTH, 8, 8), generator=torch.Generator().manual_seed(1)).expand(2, -1, -1, -1)
    return host(latents, timestep, joint_attention_kwargs=kwargs)


@torch.no_grad()
def test_there_and_back_again(host: Row) -> None:
    before, adapter = run(host), make_adapter(host)
    tokens = make_tokens(adapter)
    assert adapter.attach(host).attached is host
    assert torch.equal(run(host), before)
    assert torch.equal(run(host, adapter.condition(tokens, scale=0)), before)
    with adapter.record() as increments:
        adapted = run(host, adapter.condition(tokens))
    assert [one.block for one in increments] == ["blocks.0", "blocks.1"]
    first = increments[0]
    rows = torch.cat([tokens.null, tokens.face])
    torch.testing.assert_close(first.whole, sum(adapter.layers["blocks.0"].increments(first.entering, rows)))
    assert not torch.allclose(adapted, before, atol=1e-3)
    with pytest.raises(UserError, match="taken"):
        make_adapter(host).attach(host)
    assert adapter.detach().attached is None
    assert torch.equal(run(host), before)


@torch.no_grad()
def test_delayed_and_local(host: Row) -> None:
    adapter = make_adapter(host).attach(host)
    tokens, before, whole = make_tokens(adapter), run(host), run(host, adapter.condition(make_tokens(adapter)))
    late = adapter.condition(tokens, start=0.5)
    assert torch.equal(run(host, late, timestep=501), before)
    assert torch.equal(run(host, late, timestep=500), whole)
    mask = torch.zeros(8, 8)
    mask[:3, :3] = 1
    changed = (run(host, adapter.condition(tokens, local=mask)) - before).abs().amax(1) > 0
    assert changed[:, :3, :3].all()
    assert not changed[:, 6:].any()


def test_files(host: Row, tmp_path: Path) -> None:
    adapter = make_adapter(host)
    adapter.save_pretrained(tmp_path)
    loaded = FaceAdapter.from_pretrained(tmp_path, seam=SEAM).attach(host)
    kwargs = loaded.condition(make_tokens(loaded))
    y = run(host, kwargs)
    loaded.detach()
    assert torch.equal(run(adapter.attach(host).attached, kwargs), y)  # type: ignore[arg-type]


def test_one_adapter_reads_tokens_of_one_width() -> None:
    configs = {name: LayerConfig(width=8, token_width=width) for name, width in (("a", 4), ("b", 4), ("c", 6))}
    assert token_width({name: configs[name] for name in "ab"}) == 4
    with pytest.raises(UserError, match=r"text of several widths \(\[4, 6\]\)"):
        token_width(configs)

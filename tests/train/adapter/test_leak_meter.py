"""The leak meter: its numbers are FAIR's, its table has a row a layer and a column a timestep, it leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from live import TOKENS, WIDTH, LiveStage, samples
from PIL import Image

from facefact.adapter import Increment
from facefact.train.adapter.leak_meter import LeakTable, _column, draw_leak, measure_leak, short_names

TIMES = (100, 800)


def parts(gate: float = 0.5):
    return LiveStage(gate=gate), samples(8) | {"pooled": None, "time_ids": None}


def table_of(stage, batch, **options) -> LeakTable:
    return measure_leak(stage.unet, stage.adapter, stage.scheduler, batch, TIMES, **options)


def test_a_change_inside_the_face_only_is_no_leak() -> None:
    """A left half that is face: what is added there counts inside and nowhere else; twice as much counts twice."""
    draw = torch.Generator().manual_seed(0)
    entering = torch.randn(3, 16, 8, generator=draw)
    face = torch.zeros(3, 4, 4)
    face[:, :, :2] = 1
    added = torch.randn(3, 16, 8, generator=draw) * face.flatten(1)[..., None]

    def shares(factor: float) -> dict[tuple[str, str], float]:
        return _column([Increment("a", entering, factor * added, 2 * factor * added)], face).shares[0]

    once, twice = shares(1.0), shares(2.0)
    assert once["outside", "attention"] < 1e-3
    assert once["outside", "whole"] < 1e-3
    size = lambda t: (t * face.flatten(1)[..., None]).square().sum((1, 2)).sqrt()  # noqa: E731
    assert once["inside", "attention"] == pytest.approx(float((size(added) / size(entering)).mean()), rel=1e-5)
    assert twice["inside", "attention"] == pytest.approx(2 * once["inside", "attention"], rel=1e-5)
    assert once["inside", "whole"] == pytest.approx(2 * once["inside", "attention"], rel=1e-5)


def test_rows_are_layers_and_columns_timesteps() -> None:
    stage, batch = parts()
    table = table_of(stage, batch)
    assert set(table.layers) == set(stage.adapter.layers.configs)
    assert table.timesteps == TIMES
    assert table.samples == len(batch["latents"])
    for tables in (table.outside, table.inside):
        assert {name: one.shape for name, one in tables.items()} == dict.fromkeys(
            ("attention", "whole"), (len(table.layers), 2)
        )
        assert all((one > 0).all() for one in tables.values())
    assert table.names()[0] == "down 0.0 · 16x16"
    assert table.figures()["leak_outside_whole"] == pytest.approx(table.outside["whole"].mean(), abs=1e-6)


def test_the_first_layers_leak_doubles_with_the_scale() -> None:
    """(Of the later ones the entering tokens change too.)"""
    stage, batch = parts()
    once, twice = (table_of(stage, batch, scale=scale).outside["attention"][0] for scale in (0.25, 0.5))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-4)


def test_closed_gates_leak_nothing_and_without_a_face_there_is_no_inside() -> None:
    stage, batch = parts(gate=0.0)
    table = table_of(stage, batch)
    assert max(one.max() for one in (*table.outside.values(), *table.inside.values())) < 1e-3
    stage.adapter.detach()
    stage, batch = parts()
    faceless = table_of(stage, batch | {"face": torch.zeros(8, 16, 16)})
    assert faceless.inside["whole"].max() == 0
    assert faceless.outside["whole"].min() > 0


def test_the_same_numbers_every_time_and_no_trace() -> None:
    stage, batch = parts()
    state, mode = torch.get_rng_state(), [one.training for one in stage.modules()]
    first, again = table_of(stage, batch), table_of(stage, batch)
    assert np.array_equal(first.outside["whole"], again.outside["whole"])
    other = table_of(stage, batch, seed=1)
    assert not np.array_equal(first.outside["whole"], other.outside["whole"])
    assert torch.equal(torch.get_rng_state(), state)
    assert [one.training for one in stage.modules()] == mode
    assert all(p.grad is None for p in stage.parameters())


def test_a_dropped_face_is_the_null_face() -> None:
    stage, batch = parts()
    dropped = batch | {"face_dropped": torch.ones(8, dtype=torch.bool)}
    null = batch | {"tokens": torch.zeros(8, 2, TOKENS, WIDTH)}
    assert np.array_equal(table_of(stage, dropped).outside["whole"], table_of(stage, null).outside["whole"])


def test_what_sdxl_reads_besides_reaches_the_model() -> None:
    from diffusers import UNet2DConditionModel

    from facefact import FaceAdapter
    from facefact.train.bundle.base_model import new_scheduler

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=(1, 2),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=32,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
        use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    like, batch = parts()
    made = FaceAdapter.new(unet, encoder=like.adapter.encoder, resampler_config=like.adapter.resampler.config, gate=0.3)
    made.attach(unet)
    batch |= {"pooled": torch.randn(8, 16), "time_ids": torch.full((8, 6), 16.0)}
    table = measure_leak(unet, made, new_scheduler(), batch, TIMES)
    assert table.names()[:2] == ["down 1.0.0 · 8x8", "down 1.0.1 · 8x8"]
    moved = measure_leak(unet, made, new_scheduler(), batch | {"pooled": torch.zeros(8, 16)}, TIMES)
    assert not np.array_equal(table.outside["whole"], moved.outside["whole"])


def test_short_names() -> None:
    one = "up_blocks.1.attentions.0.transformer_blocks.0"
    assert short_names([one, "mid_block.attentions.0.transformer_blocks.0"]) == ["up 1.0", "mid 0"]
    assert short_names([one, one[:-1] + "1"]) == ["up 1.0.0", "up 1.0.1"]


def test_the_heat_map_is_a_whole_picture(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    stage, batch = parts()
    draw_leak(table_of(stage, batch), tmp_path / "leak.png")
    assert [path.name for path in tmp_path.iterdir()] == ["leak.png"]
    with Image.open(tmp_path / "leak.png") as picture:
        picture.load()
        assert picture.width > 400

"""The leak meter: its numbers are FAIR's, its table has a row a layer and a column a timestep, it leaves no trace."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from live import TOKENS, WIDTH, LiveStage, samples
from PIL import Image

from facefact.adapter import Increment
from facefact.train.adapter.leak_meter import PARTS, LeakTable, _column, draw_leak, measure_leak, short_names

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
        column = _column([Increment("a", entering, factor * added, 2 * factor * added)], face)
        return {key: float(found[0].mean()) for key, found in column.shares.items()}

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


def made_table(outside: np.ndarray, people: list[int]) -> LeakTable:
    """A table of two layers at one timestep. outside: (layers, samples); inside the same a thousandth as much."""
    outside = outside[:, None]
    shares = {(where, part): outside * factor for where, factor in (("outside", 1), ("inside", 1e-3)) for part in PARTS}
    names = ("mid_block.attentions.0.transformer_blocks.0", "up_blocks.1.attentions.0.transformer_blocks.0")
    return LeakTable(names, (16, 64), 1.0, (500,), np.array(people), shares)


def test_the_mean_is_over_pictures_and_its_interval_over_people() -> None:
    values = np.array([[0.1, 0.1, 0.3, 0.3], [0.3, 0.3, 0.9, 0.9]])
    figures = made_table(values, [4, 4, 6, 6]).figures()
    assert figures["leak_outside_whole"] == pytest.approx(0.4)
    assert (figures["leak_outside_whole_low"], figures["leak_outside_whole_high"]) == (0.2, 0.6)  # either one alone
    assert figures["leak_inside_whole"] == pytest.approx(0.0004)
    of_four = made_table(values, [1, 2, 3, 4]).figures()
    assert 0.2 <= of_four["leak_outside_whole_low"] < 0.4 < of_four["leak_outside_whole_high"] <= 0.6
    assert not any(name.endswith(("low", "high")) for name in made_table(values, [1, 1, 1, 1]).figures())


def test_pictures_without_an_outside_do_not_count() -> None:
    table = made_table(np.array([[0.2, 0.4, np.nan], [0.6, 0.8, np.nan]]), [0, 1, 2])
    assert table.outside["whole"].ravel().tolist() == pytest.approx([0.3, 0.7])
    assert table.figures()["leak_outside_whole"] == pytest.approx(0.5)
    nobody = made_table(np.full((2, 3), np.nan), [0, 1, 2])
    assert nobody.figures()["leak_outside_whole"] == 0
    json.dumps(nobody.as_json(), allow_nan=False)


def test_each_layer_is_told_by_the_name_of_its_block() -> None:
    told = made_table(np.array([[0.2, 0.4], [0.6, 0.8]]), [0, 1]).as_json()
    assert (told["samples"], told["people"]) == (2, 2)
    mid, up = told["by_layer"]
    assert (mid["block"], mid["name"]) == ("mid_block.attentions.0.transformer_blocks.0", "mid 0 · 4x4")
    assert mid["outside"] == {"value": 0.3, "low": 0.2, "high": 0.4}
    assert up["inside"]["value"] == pytest.approx(0.0007)


def test_whose_the_pictures_are_is_read_off_the_batch() -> None:
    stage, batch = parts()
    table = table_of(stage, batch | {"person": torch.tensor([3, 3, 3, 3, 9, 9, 9, 9])})
    assert table.as_json()["people"] == 2
    assert table_of(stage, batch).as_json()["people"] == 8
    assert np.array_equal(table.outside["whole"], table_of(stage, batch).outside["whole"])


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

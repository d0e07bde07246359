"""The training of an encoder of its own: its settings, its result, and that the same command goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from facefact.config import load_config
from facefact.encoder import TransFaceConfig
from facefact.encoder.files import load_transface
from facefact.train.encoder import run as encoder_run
from facefact.train.encoder.config import EncoderTraining
from facefact.train.encoder.patch_augmentation import PatchAugmentation
from facefact.train.encoder.recogniser import Population, RecogniserLoss
from facefact.train.encoder.run import train_encoder
from facefact.train.engine.loop import Schedule
from facefact.train.material.world import aligned_head
from facefact.types import UserError
from facefact.world import Rendering

CONFIGS = Path(__file__).parents[3] / "configs"
TINY = EncoderTraining(
    network=TransFaceConfig(patch_size=28, width=16, depth=1, heads=2, embedding_size=8),
    schedule=Schedule(steps=4, batch=6, lr=4e-3, warmup=1, precision="fp32", log_every=1, seed=7),
    loss=RecogniserLoss(classes=5, patch_augmentation=PatchAugmentation(0.5, 0.2), hard_samples=True),
    data=Population(people=5, looks=3),
)


def test_the_recipe_is_complete_and_has_everything_on() -> None:
    config = load_config(EncoderTraining, CONFIGS / "encoder.yaml")
    config.check()
    assert config.loss.patch_augmentation.probability > 0
    assert config.loss.hard_samples


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_encoder(TINY, tmp_path / "whole")
    assert whole == tmp_path / "whole/encoder"
    pictures = iter(range(3 * TINY.schedule.batch - 2))

    def crop_until_interrupted(drawn: Rendering, rng: np.random.Generator) -> np.ndarray:
        if next(pictures, None) is None:
            raise KeyboardInterrupt  # in the third step
        return aligned_head(drawn, rng)

    every_step = replace(TINY, schedule=replace(TINY.schedule, save_every=0.0))
    monkeypatch.setattr(encoder_run, "aligned_head", crop_until_interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_encoder(every_step, tmp_path / "parts")
    monkeypatch.undo()
    assert not (tmp_path / "parts/encoder").exists()
    again = load_transface(train_encoder(every_step, tmp_path / "parts"))
    assert again.config == TINY.network
    for name, value in load_transface(whole).state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_once_more_leaves_what_is_finished(tmp_path: Path) -> None:
    weights = train_encoder(TINY, tmp_path) / "model.safetensors"
    before = weights.read_bytes()
    train_encoder(TINY, tmp_path)
    assert weights.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": replace(TINY.schedule, batch=5)}, "schedule.batch: pictures come in pairs"),
        ({"data": Population(people=2, looks=2)}, "data.people: a batch has 3 people, 2 are too few"),
        ({"data": Population(people=5, looks=1)}, "two looks or more"),
        ({"data": Population()}, "loss.classes: 5 centres for 0 people"),
        ({"loss": RecogniserLoss(margin=-1)}, "loss.margin must not be below 0"),
    ],
)
def test_settings_that_make_no_sense(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(TINY, **change).check()

"""The frozen parts opened from a directory or the bundle, and what cannot be one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from facefact.demo import bundle_path
from facefact.train.material.base import open_base, open_frozen
from facefact.train.material.encode import encode_faces
from facefact.train.settings import BaseModel, NewAdapter
from facefact.types import UserError
from tiny import tiny_pipeline

NOWHERE = Path("/nowhere")


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A saved pipeline of Stable Diffusion's kind."""
    path = tmp_path_factory.mktemp("base")
    tiny_pipeline().save_pretrained(path)
    return path


def test_nothing_of_it_learns() -> None:
    frozen = open_frozen(BaseModel(source="random:tiny-xl"), NewAdapter(encoder="random:tiny"), bundle=NOWHERE)
    assert len(frozen.modules()) == 5
    for module in frozen.modules():
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_the_bundle_opens() -> None:
    frozen = open_frozen(BaseModel(), NewAdapter(), bundle=bundle_path())
    assert frozen.scheduler.config.prediction_type == "v_prediction"
    assert encode_faces(frozen, torch.zeros(1, 3, 112, 112)).shape == (1, 49, 160)


def changed(directory: Path, goal: Path, file: str, **values: Any) -> str:
    """A copy of a pipeline's directory with other values in one of its JSON files."""
    shutil.copytree(directory, goal)
    tree = json.loads((goal / file).read_text())
    (goal / file).write_text(json.dumps(tree | values))
    return str(goal)


def test_what_cannot_be_a_base_is_said_in_one_line(directory: Path, tmp_path: Path) -> None:
    tiny_pipeline(in_channels=9).save_pretrained(tmp_path / "inpainting")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model_index.json").write_text("{")
    unet = "unet/config.json"
    for source, message in (
        (str(tmp_path / "inpainting"), "inpainting model .* reads 9 channels"),
        (str(tmp_path / "empty"), "no model_index"),
        (str(tmp_path / "broken"), "cannot be read"),
        (str(tmp_path / "gone"), "neither a directory"),
        ("random:huge", "sd15, sdxl"),
        (changed(directory, tmp_path / "a", "model_index.json", unet=["diffusers", "FluxTransformer2DModel"]), "Flux"),
        (changed(directory, tmp_path / "b", unet, cross_attention_dim=48), "cannot open"),
        (changed(directory, tmp_path / "c", "scheduler/scheduler_config.json", prediction_type="sample"), "predicts"),
        ("owner/name", "base.source: owner/name is no directory here, and the hub did not give it"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            open_base(BaseModel(source=source), bundle=NOWHERE)
        assert "\n" not in str(raised.value)

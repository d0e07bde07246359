"""Which parameters learn how: the groups by which the shipped weights were trained."""

from __future__ import annotations

import pytest
import torch
from live import BASE, text_parts
from parts import fact_stage, frozen
from torch import nn

from facefact.encoder import TransFace, TransFaceConfig
from facefact.train.bundle.autoencoder import AutoencoderConfig, AutoencoderStage, new_autoencoder
from facefact.train.bundle.base_model import BaseStage, new_scheduler, new_unet
from facefact.train.encoder.recogniser import RecogniserLoss, RecogniserStage
from facefact.train.engine.schedule import parameter_groups
from facefact.train.settings import Loss


def stage_of(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "fact":
        return fact_stage(frozen(), Loss())
    if kind == "base":
        return BaseStage(new_unet(BASE), text_parts()[0], new_scheduler())
    if kind == "autoencoder":
        config = AutoencoderConfig(widths=(16, 32))
        return AutoencoderStage(new_autoencoder(config), config)
    recogniser = TransFace(TransFaceConfig(patch_size=28, width=32, depth=1, heads=2, embedding_size=16))
    return RecogniserStage(recogniser, RecogniserLoss(classes=20))


@pytest.mark.parametrize("kind", ["fact", "base", "autoencoder", "recogniser"])
def test_the_groups_are_those_of_the_shipped_weights(kind) -> None:
    """Told by type and by the stage itself; once they were told by these names."""
    stage = stage_of(kind)
    groups, names = parameter_groups(stage), {id(p): name for name, p in stage.named_parameters()}
    found = {
        kind: [names[id(p)] for p in some]
        for kind, some in (("matrices", groups.matrices), ("rest", groups.rest), ("gates", groups.gates))
    }
    wanted: dict[str, list[str]] = {"matrices": [], "rest": [], "gates": []}
    for name, p in stage.named_parameters():
        if p.requires_grad:
            inner = p.ndim >= 2 and min(p.flatten(1).shape) >= 16 and "embed" not in name
            wanted["gates" if ".alpha_" in name else "matrices" if inner else "rest"].append(name)
    assert found == wanted
    assert bool(found["gates"]) == (kind == "fact")
    embeddings = {"base": "time_embedding.linear_1.weight", "recogniser": "class_embeddings"}
    assert kind not in embeddings or any(name.endswith(embeddings[kind]) for name in found["rest"])

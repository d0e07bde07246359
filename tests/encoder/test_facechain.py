"""Reading architectures off published tensors."""

from __future__ import annotations

import pytest
import torch

from facefact.encoder import Resampler, ResamplerConfig, TransFace, TransFaceConfig
from facefact.encoder.facechain import (
    encoder_from_state,
    resampler_config,
    resampler_from_state,
    transface_config,
)
from facefact.types import UserError

VIT = TransFaceConfig(patch_size=28, width=128, depth=2, heads=2, mlp_ratio=1.5, embedding_size=24)
RESAMPLER = ResamplerConfig(
    input_width=128, width=48, depth=2, heads=3, head_width=64, queries=5, output_width=40, ff_mult=2
)


@pytest.mark.parametrize("config", [TransFaceConfig(), VIT])
def test_encoder_config(config: TransFaceConfig) -> None:
    with torch.device("meta"):
        assert transface_config(TransFace(config).state_dict()) == config


@pytest.mark.parametrize("config", [ResamplerConfig(), RESAMPLER])
def test_resampler_config(config: ResamplerConfig) -> None:
    with torch.device("meta"):
        assert resampler_config(Resampler(config).state_dict()) == config


def test_half_precision_files_become_float32() -> None:
    vit, resampler = TransFace(VIT).half(), Resampler(RESAMPLER).half()
    assert encoder_from_state(vit.state_dict(), source="x").pos_embed.dtype == torch.float32
    loaded = resampler_from_state(resampler.state_dict(), source="x")
    assert torch.equal(loaded.proj_in.weight, resampler.proj_in.weight.float())


def test_errors_name_the_key() -> None:
    state = TransFace(VIT).state_dict()
    del state["blocks.1.norm2.bias"]
    with pytest.raises(UserError, match=r"enc\.pt does not fit: lacks blocks\.1\.norm2\.bias"):
        encoder_from_state(state, source="enc.pt")
    with pytest.raises(UserError, match=r"not a TransFace encoder: 'patch_embed\.proj\.weight'"):
        encoder_from_state({"conv1.weight": torch.zeros(1)}, source="enc.pt")
    with pytest.raises(UserError, match="has no resampler of the published form"):
        resampler_from_state({"a": torch.zeros(1)}, source="a.ckpt")

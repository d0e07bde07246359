"""FACT on the last layer: FACT's layers, the embedding's tokens."""

from __future__ import annotations

import pytest
import torch
from parts import frozen

from facefact.demo import BUNDLE
from facefact.train.peers.config import PeerConfig
from facefact.train.peers.decoupled import learned_weights, open_adapter
from facefact.train.peers.global_face import GlobalFace
from facefact.train.peers.last_layer import LastLayerAdapter
from facefact.types import UserError


def test_it_is_fact_but_for_its_tokens(tmp_path):
    base = frozen()
    torch.manual_seed(0)
    made = LastLayerAdapter.fresh(base.unet, encoder=base.encoder, peer=PeerConfig("last_layer", 2, 24), gate=0.3)
    made.eval()
    assert len(made.gates()) == 2 * len(made.layers.configs)
    made.save_pretrained(tmp_path / "peer", about={"seen": 1})
    again = open_adapter(tmp_path / "peer")
    assert isinstance(again, LastLayerAdapter)
    assert isinstance(again.resampler, GlobalFace)
    assert (again.about, again.content_hash()) == ({"seen": 1}, made.content_hash())
    assert learned_weights(again) == learned_weights(made)
    size, config = base.encoder.config.image_size, base.unet.config
    latents, text = torch.randn(1, config.in_channels, 8, 8), torch.randn(1, 5, config.cross_attention_dim)
    faces = torch.rand(2, 3, size, size) * 2 - 1

    def painted(adapter, face=None):
        with torch.no_grad():
            asked = None if face is None else adapter.condition(adapter.tokens(face[None]), guidance=False)
            return base.unet(latents, torch.tensor(500), text, cross_attention_kwargs=asked).sample

    before = painted(made)
    again.attach(base.unet)
    one = painted(again, faces[0])
    assert not torch.allclose(one, before, atol=1e-4)
    assert not torch.allclose(one, painted(again, faces[1]), atol=1e-5)
    again.detach()
    made.attach(base.unet)
    torch.testing.assert_close(painted(made, faces[0]), one)
    made.detach()
    assert torch.equal(painted(made), before)
    with pytest.raises(UserError, match="reads the last layer"):
        LastLayerAdapter.from_pretrained(BUNDLE / "adapter")

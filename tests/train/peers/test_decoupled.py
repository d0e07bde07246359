"""Peers: what is added is IP-Adapter's formula by diffusers' own processors, and the base model is left as it was."""

from __future__ import annotations

import pytest
import torch
from parts import frozen

from facefact.encoder import ResamplerConfig
from facefact.train.peers.config import PeerConfig
from facefact.train.peers.decoupled import DecoupledAdapter, learned_weights, open_adapter
from facefact.types import FaceTokens, UserError

RESAMPLER = ResamplerConfig(input_width=32, width=32, depth=1, heads=2, head_width=16, queries=4, output_width=32)


@pytest.fixture(scope="module")
def base():
    return frozen()


@pytest.fixture(params=["ip_adapter", "faceid"])
def peer(request, base):
    torch.manual_seed(0)
    made = DecoupledAdapter.fresh(
        base.unet, encoder=base.encoder, peer=PeerConfig(request.param, 2, 24), resampler_config=RESAMPLER
    )
    for layer in made.layers.values():
        torch.nn.init.normal_(layer.to_v_ip[0].weight, std=0.2)
    yield made.eval()
    made.detach()


def call(base, condition=None):
    generator = torch.Generator().manual_seed(1)
    config = base.unet.config
    latents = torch.randn(2, config.in_channels, 8, 8, generator=generator)
    text = torch.randn(2, 5, config.cross_attention_dim, generator=generator)
    with torch.no_grad():
        return base.unet(latents, torch.tensor(500), text, cross_attention_kwargs=condition).sample


def tokens(peer, rows=2):
    generator = torch.Generator().manual_seed(2)
    pixels = torch.rand(rows, 3, *2 * (peer.encoder.config.image_size,), generator=generator) * 2 - 1
    with torch.no_grad():
        one = [peer.tokens(pixel[None]) for pixel in pixels]
    return FaceTokens(torch.cat([t.face for t in one]), torch.cat([t.null for t in one]))


def test_attached_without_a_face_or_at_scale_0_the_base_model_is_itself(base, peer):
    before = call(base)
    processors = base.unet.attn_processors
    peer.attach(base.unet)
    assert torch.equal(call(base), before)
    assert torch.equal(call(base, peer.condition(tokens(peer), 0.0, guidance=False)), before)
    assert not torch.allclose(call(base, peer.condition(tokens(peer), 1.0, guidance=False)), before, atol=1e-4)
    peer.detach()
    assert torch.equal(call(base), before)
    assert base.unet.encoder_hid_proj is None
    assert {name: type(one) for name, one in base.unet.attn_processors.items()} == {
        name: type(one) for name, one in processors.items()
    }


def test_each_row_reads_its_own_face(base, peer):
    two = tokens(peer)
    peer.attach(base.unet)
    together = call(base, peer.condition(two, guidance=False))
    swapped = call(base, peer.condition(FaceTokens(two.face.flip(0), two.null), guidance=False))
    assert not torch.allclose(together, swapped, atol=1e-4)
    first = FaceTokens(two.face[:1], two.null[:1])
    alike = call(base, peer.condition(first, guidance=False))
    torch.testing.assert_close(alike[0], together[0], atol=1e-5, rtol=1e-4)
    guided = call(base, peer.condition(first, guidance=True))  # the null face, then the face
    torch.testing.assert_close(guided[1], swapped[1], atol=1e-5, rtol=1e-4)


def test_a_fresh_one_adds_nothing(base):
    made = DecoupledAdapter.fresh(base.unet, encoder=base.encoder, peer=PeerConfig(), resampler_config=RESAMPLER)
    before = call(base)
    made.eval().attach(base.unet)
    torch.testing.assert_close(call(base, made.condition(tokens(made), guidance=False)), before)
    made.detach()


def test_it_is_saved_and_opened_again(base, peer, tmp_path):
    peer.save_pretrained(tmp_path / "peer", about={"seen": 1})
    again = open_adapter(tmp_path / "peer")
    assert isinstance(again, DecoupledAdapter)
    assert again.peer == peer.peer
    assert again.about == {"seen": 1}
    assert again.content_hash() == peer.content_hash()
    assert learned_weights(again) == learned_weights(peer)
    torch.testing.assert_close(tokens(again).face, tokens(peer).face)


def test_nobody_is_the_zero_embedding(base):
    made = DecoupledAdapter.fresh(base.unet, encoder=base.encoder, peer=PeerConfig("faceid", 2, 24))
    config = base.encoder.config
    null = made.resampler(torch.zeros(1, config.tokens, config.width))
    expected = made.resampler.norm(
        made.resampler.leave(torch.nn.functional.gelu(made.resampler.enter.bias)).unflatten(0, (2, -1))
    )
    torch.testing.assert_close(null[0], expected)


def test_what_it_lacks_is_refused(base, peer):
    some = tokens(peer)
    with pytest.raises(UserError, match="no start"):
        peer.condition(some, start=0.2)
    with pytest.raises(UserError, match="no local"):
        peer.condition(some, local=True)
    with pytest.raises(UserError, match="one scale"):
        peer.condition(some, {"mid_block": 1.0})


def test_it_takes_no_place_that_is_taken(base, peer):
    peer.attach(base.unet)
    other = DecoupledAdapter.fresh(base.unet, encoder=base.encoder, peer=PeerConfig(), resampler_config=RESAMPLER)
    with pytest.raises(UserError, match="other tokens already"):
        other.attach(base.unet)

"""The layer against its formula in float64, and against the same layer in diffusers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from facefact.adapter import AdapterLayers, GatedSelfAttention, LayerConfig
from facefact.types import UserError

CONFIG = LayerConfig(width=24, token_width=10, heads=3, ff_mult=2)


def make_layer(config: LayerConfig = CONFIG, *, strength: float = 1.5) -> GatedSelfAttention:
    """Large weights everywhere, and gates that cannot be exchanged for each other."""
    torch.manual_seed(0)
    layer = GatedSelfAttention(config)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=strength / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 1.0)
        layer.alpha_attn.fill_(0.9)
        layer.alpha_dense.fill_(-0.4)
    return layer


def reference(layer: GatedSelfAttention, x: Tensor, face: Tensor, scale: float) -> Tensor:
    """docs/method.md as it is written: attention over all of [x ; f], then cut."""
    w = {k: v.double() for k, v in layer.state_dict().items()}

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return normed * w[f"{name}.weight"] + w[f"{name}.bias"]

    x, face, n = x.double(), face.double(), x.shape[1]
    seen = norm(torch.cat([x, face @ w["linear.weight"].T + w["linear.bias"]], 1), "norm1")
    q, k, v = (seen @ w[f"attn.to_{name}.weight"].T for name in "qkv")
    heads, d = [], q.shape[-1] // (layer.attn.heads or 1)
    for h in range(layer.attn.heads or 1):
        one = slice(h * d, h * d + d)
        heads.append((q[..., one] @ k[..., one].mT / math.sqrt(d)).softmax(-1) @ v[..., one])
    attention = (torch.cat(heads, -1) @ w["attn.to_out.0.weight"].T + w["attn.to_out.0.bias"])[:, :n]
    x = x + scale * w["alpha_attn"].tanh() * attention
    value, gate = (norm(x, "norm2") @ w["ff.net.0.proj.weight"].T + w["ff.net.0.proj.bias"]).chunk(2, -1)
    hidden = value * gate * 0.5 * (1 + torch.erf(gate / math.sqrt(2)))
    return x + scale * w["alpha_dense"].tanh() * (hidden @ w["ff.net.2.weight"].T + w["ff.net.2.bias"])


@pytest.mark.parametrize("scale", [1.0, 0.6, -0.5])
@pytest.mark.parametrize("config", [CONFIG, LayerConfig(width=16, token_width=6, heads=5, inner_width=15)])
@torch.no_grad()
def test_formula(config: LayerConfig, scale: float) -> None:
    layer = make_layer(config)
    x, face = torch.randn(2, 9, config.width), 2 * torch.randn(2, 4, config.token_width)
    expected = reference(layer, x, face, scale)
    torch.testing.assert_close(layer(x, face, scale=scale), expected.float(), atol=2e-4, rtol=1e-5)
    exact = layer.double()(x.double(), face.double(), scale=scale)
    torch.testing.assert_close(exact, expected, atol=1e-10, rtol=1e-10)
    layer.alpha_attn.data, layer.alpha_dense.data = layer.alpha_dense.data, layer.alpha_attn.data
    assert (layer(x.double(), face.double(), scale=scale) - expected).abs().max() > 0.1, "the gates are not the same"


@torch.no_grad()
def test_same_names_and_numbers_as_the_layer_in_diffusers() -> None:
    from diffusers.models.attention import GatedSelfAttentionDense

    layer = make_layer(LayerConfig(width=24, token_width=10, heads=3))
    theirs = GatedSelfAttentionDense(24, 10, 3, 8)
    theirs.load_state_dict(layer.state_dict(), strict=True)
    x, face = torch.randn(2, 9, 24), torch.randn(2, 4, 10)
    torch.testing.assert_close(layer(x, face), theirs(x, face), atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_increments_add_up() -> None:
    layer, x, face = make_layer(), torch.randn(2, 9, 24), torch.randn(2, 4, 10)
    attention, dense = layer.increments(x, face, scale=0.5)
    assert torch.equal(x + attention + dense, layer(x, face, scale=0.5))
    layer.alpha_dense.zero_()
    assert torch.equal(layer(x, face, scale=0.5), x + attention)


@torch.no_grad()
def test_order_of_the_face_tokens_does_not_matter() -> None:
    layer, x, face = make_layer(), torch.randn(2, 9, 24), torch.randn(2, 4, 10)
    torch.testing.assert_close(layer(x, face), layer(x, face.flip(1)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rows_fill_the_batch_in_order() -> None:
    layer, x, face = make_layer(), torch.randn(6, 9, 24), torch.randn(3, 4, 10)
    expected = torch.cat([layer(x[i : i + 1], face[i // 2 : i // 2 + 1]) for i in range(6)])
    torch.testing.assert_close(layer(x, face), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(UserError, match="3 rows and the model runs a batch of 4: give one person, or as many"):
        layer(x[:4], face)


@torch.no_grad()
def test_scale_per_row() -> None:
    layer, x, face = make_layer(), torch.randn(4, 9, 24), torch.randn(2, 4, 10)
    scales = torch.tensor([0.0, 0.7])
    together = layer(x, face, scale=scales)
    assert torch.equal(together[:2], x[:2])
    torch.testing.assert_close(together[2:], layer(x, face, scale=0.7)[2:])
    torch.testing.assert_close(layer(x, face, scale=torch.tensor(0.7)), layer(x, face, scale=0.7))


def test_a_fresh_layer_is_the_identity_and_its_gates_can_open() -> None:
    layer, x, face = GatedSelfAttention(CONFIG), torch.randn(2, 9, 24), torch.randn(2, 4, 10)
    y = layer(x, face)
    assert torch.equal(y, x)
    y.sum().backward()
    moved = {name for name, p in layer.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == {"alpha_attn", "alpha_dense"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_types_may_differ(dtype: torch.dtype) -> None:
    layer, x, face = make_layer(strength=1.0), torch.randn(2, 9, 24), torch.randn(2, 4, 10)
    exact = layer(x, face)
    mixed = layer(x.to(dtype), face)
    assert mixed.dtype == dtype
    torch.testing.assert_close(mixed.float(), exact, atol=0.1, rtol=0.05)


def test_heads_must_be_known() -> None:
    layer = GatedSelfAttention(LayerConfig(width=24, token_width=10))
    with pytest.raises(RuntimeError, match="the number of heads is the host block's"):
        layer(torch.zeros(1, 2, 24), torch.zeros(1, 2, 10))


def test_layers_are_named_after_their_blocks() -> None:
    layers = AdapterLayers({"down_blocks.0.x": CONFIG, "down_blocks.1.x": CONFIG, "mid": CONFIG}, gate=0.2)
    assert [name for name, _ in layers.items()] == ["down_blocks.0.x", "down_blocks.1.x", "mid"]
    assert "down_blocks.1.x.attn.to_out.0.bias" in layers.state_dict()
    assert len(layers) == 3
    assert layers["mid"].alpha_attn.item() == pytest.approx(0.2)

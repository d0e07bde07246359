"""TransFace against the published numbers, and against the formula where those are too gentle to see a difference."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facefact.encoder import TransFace, TransFaceConfig
from golden import published

SMALL = TransFaceConfig(image_size=40, patch_size=9, width=24, depth=3, heads=3, mlp_ratio=2.0, embedding_size=10)


def reference(encoder: TransFace, pixels: Tensor) -> tuple[Tensor, Tensor, float]:
    """Tokens and embedding in float64, one sum at a time; and the largest value in front of the ReLU6."""
    c, w = encoder.config, {k: v.double() for k, v in encoder.state_dict().items() if v.is_floating_point()}
    side, p = c.image_size // c.patch_size, c.patch_size
    corners = [(i * p, j * p) for i in range(side) for j in range(side)]
    patches = torch.stack([pixels[:, :, y : y + p, x : x + p].double().flatten(1) for y, x in corners], 1)
    x = patches @ w["patch_embed.proj.weight"].flatten(1).T + w["patch_embed.proj.bias"] + w["pos_embed"]
    peak = 0.0

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return normed * w[f"{name}.weight"] + w[f"{name}.bias"]

    for i in range(c.depth):
        b, d = f"blocks.{i}", c.width // c.heads
        q, k, v = (norm(x, f"{b}.norm1") @ w[f"{b}.attn.qkv.weight"].T).split(c.width, -1)
        heads = []
        for h in range(c.heads):
            one = slice(h * d, h * d + d)
            heads.append((q[..., one] @ k[..., one].mT / math.sqrt(d)).softmax(-1) @ v[..., one])
        x = x + torch.cat(heads, -1) @ w[f"{b}.attn.proj.weight"].T + w[f"{b}.attn.proj.bias"]
        hidden = norm(x, f"{b}.norm2") @ w[f"{b}.mlp.fc1.weight"].T + w[f"{b}.mlp.fc1.bias"]
        peak = max(peak, float(hidden.max()))
        x = x + hidden.clamp(0, 6) @ w[f"{b}.mlp.fc2.weight"].T + w[f"{b}.mlp.fc2.bias"]
    tokens = norm(x, "norm")
    gate = (tokens.flatten(1) @ w["senet.0.weight"].T).clamp(min=0) @ w["senet.2.weight"].T
    y = (tokens * (1 / (1 + (-gate).exp()))[..., None]).flatten(1)
    for linear, bn in ("feature.0", "feature.1"), ("feature.2", "feature.3"):
        y = y @ w[f"{linear}.weight"].T
        y = (y - w[f"{bn}.running_mean"]) / (w[f"{bn}.running_var"] + 2e-5).sqrt() * w[f"{bn}.weight"] + w[f"{bn}.bias"]
    return tokens, y, peak


def strong(encoder: TransFace, seed: int = 0) -> TransFace:
    """Weights large enough to saturate the ReLU6 and the gate."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in encoder.state_dict().items():
        z = torch.randn(value.shape, generator=generator)
        fan_in = value.shape[-1] if value.ndim > 1 else 1
        state[name] = {"running_var": z.square() + 0.1, "num_batches_tracked": value}.get(
            name.rsplit(".", 1)[-1], z * (3 / fan_in**0.5 if value.ndim > 1 else 1.0)
        )
    encoder.load_state_dict(state)
    return encoder.eval()


def test_names_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        state = TransFace().state_dict()
    assert {name: list(value.shape) for name, value in state.items()} == published.keys("transface")


@torch.no_grad()
def test_published_numbers() -> None:
    with torch.device("meta"):
        encoder = TransFace()
    encoder.load_state_dict(published.make_state(published.keys("transface")), assign=True)
    encoder.eval()
    tokens = encoder(published.inputs()["face_img"])
    golden = published.outputs()
    torch.testing.assert_close(tokens[0, ::16], golden["local_tokens"], atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.embed_tokens(tokens), golden["global"], atol=5e-5, rtol=0)


@torch.no_grad()
def test_formula_with_weights_that_saturate() -> None:
    encoder = strong(TransFace(SMALL)).double()
    pixels = torch.rand(2, 3, 40, 40, dtype=torch.float64) * 2 - 1
    tokens, embedding, peak = reference(encoder, pixels)
    assert peak > 7, "the weights must reach the upper knee of ReLU6"
    torch.testing.assert_close(encoder(pixels), tokens, atol=1e-10, rtol=0)
    torch.testing.assert_close(encoder.embed(pixels), embedding, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(encoder.float()(pixels.float()), tokens.float(), atol=2e-4, rtol=0)


@torch.no_grad()
def test_pixels_beyond_the_last_patch_do_not_matter() -> None:
    encoder = TransFace(SMALL).eval()
    pixels = torch.rand(1, 3, 40, 40)
    other = pixels.clone()
    other[..., 36:, :] = 0
    other[..., :, 36:] = 1
    assert torch.equal(encoder(pixels), encoder(other))


@pytest.mark.parametrize("patch", [9, 14, 16])
def test_any_size_trains(patch: int) -> None:
    config = TransFaceConfig(patch_size=patch, width=32, depth=1, heads=4, embedding_size=16)
    encoder = TransFace(config)
    pixels = torch.rand(3, 3, 112, 112) * 2 - 1
    assert encoder(pixels).shape == (3, (112 // patch) ** 2, 32) == (3, config.tokens, 32)
    F.mse_loss(encoder.embed(pixels), torch.randn(3, 16)).backward()
    silent = {name for name, p in encoder.named_parameters() if p.grad is None}
    assert silent == {"mask_token"}


def test_sizes_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="multiple of heads"):
        TransFaceConfig(width=100, heads=8)
    with pytest.raises(ValueError, match="larger than image_size"):
        TransFaceConfig(patch_size=113)

"""The resampler against the published numbers and against the formula."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from facefact.encoder import Resampler, ResamplerConfig
from golden import published

SMALL = ResamplerConfig(input_width=10, width=24, depth=2, heads=3, head_width=6, queries=5, output_width=14, ff_mult=3)


def published_resampler() -> Resampler:
    prefix = "local_fac_prj."
    shapes = {k[len(prefix) :]: v for k, v in published.keys("adapter_sd15").items() if k.startswith(prefix)}
    with torch.device("meta"):
        resampler = Resampler()
    assert {name: list(value.shape) for name, value in resampler.state_dict().items()} == shapes
    resampler.load_state_dict(published.make_state(shapes), assign=True)
    return resampler


@torch.no_grad()
def test_published_names_and_numbers() -> None:
    resampler, golden = published_resampler(), published.outputs()
    rand, zeros = resampler(published.inputs()["resampler_in"]), resampler(torch.zeros(1, 144, 512))
    torch.testing.assert_close(rand[:, ::4], golden["resampler_rand"], atol=1e-5, rtol=0)
    torch.testing.assert_close(zeros[:, ::4], golden["resampler_zeros"], atol=1e-5, rtol=0)


def reference(resampler: Resampler, tokens: Tensor) -> Tensor:
    c, w = resampler.config, {k: v.double() for k, v in resampler.state_dict().items()}

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return normed * w[f"{name}.weight"] + w[f"{name}.bias"]

    x = tokens @ w["proj_in.weight"].T + w["proj_in.bias"]
    z = w["latents"].expand(len(x), -1, -1)
    for i in range(c.depth):
        a, f = f"layers.{i}.0", f"layers.{i}.1"
        asked = norm(z, f"{a}.norm2")
        seen = torch.cat([norm(x, f"{a}.norm1"), asked], 1)
        q, (k, v) = asked @ w[f"{a}.to_q.weight"].T, (seen @ w[f"{a}.to_kv.weight"].T).chunk(2, -1)
        heads = []
        for h in range(c.heads):
            one = slice(h * c.head_width, (h + 1) * c.head_width)
            heads.append((q[..., one] @ k[..., one].mT / math.sqrt(c.head_width)).softmax(-1) @ v[..., one])
        z = z + torch.cat(heads, -1) @ w[f"{a}.to_out.weight"].T
        hidden = norm(z, f"{f}.0") @ w[f"{f}.1.weight"].T
        z = z + (hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))) @ w[f"{f}.3.weight"].T
    return norm(z @ w["proj_out.weight"].T + w["proj_out.bias"], "norm_out")


@torch.no_grad()
def test_formula() -> None:
    torch.manual_seed(0)
    resampler = Resampler(SMALL)
    for parameter in resampler.parameters():
        parameter.normal_(std=1.5 / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 1.0)
    tokens = torch.randn(2, 7, 10)
    expected = reference(resampler, tokens.double())
    torch.testing.assert_close(resampler(tokens), expected.float(), atol=5e-5, rtol=0)
    # not closer: its softmax is in float32 whatever the rest is
    torch.testing.assert_close(resampler.double()(tokens.double()), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_order_of_the_tokens_does_not_matter() -> None:
    resampler, tokens = Resampler(SMALL), torch.randn(1, 7, 10)
    torch.testing.assert_close(resampler(tokens), resampler(tokens.flip(1)), atol=1e-5, rtol=0)


def test_everything_learns() -> None:
    resampler = Resampler(SMALL)
    resampler(torch.randn(2, 7, 10)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in resampler.parameters())

"""A small IP-Adapter in diffusers' own format."""

from __future__ import annotations

from typing import Any


def ip_adapter_state(unet: Any) -> dict[str, Any]:
    """Image projection and two projections per cross-attention of the U-Net; random, always the same."""
    import torch

    torch.manual_seed(6)
    width = unet.config.cross_attention_dim
    places = [attn for name, attn in unet.named_modules() if name.endswith("attn2")]
    pairs = {
        f"{2 * i + 1}.to_{kind}_ip.weight": torch.randn(attn.inner_dim, width)
        for i, attn in enumerate(places)
        for kind in "kv"
    }
    projection = {
        "proj.weight": torch.randn(4 * width, 10),
        "proj.bias": torch.randn(4 * width),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }
    return {"image_proj": projection, "ip_adapter": pairs}

"""diffusers' own IP-Adapter, small and random, no file from anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np


def with_ip_adapter(pipe: Any) -> Any:
    """On a pipeline: image encoder, projection, and decoupled cross-attention."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(2)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = CLIPVisionConfig(image_size=32, patch_size=8, projection_dim=10, **sizes)
    pipe.register_modules(image_encoder=CLIPVisionModelWithProjection(vision).eval(), feature_extractor=Extractor())
    pipe.unet._load_ip_adapter_weights([ip_adapter_state(pipe.unet)])
    pipe.set_ip_adapter_scale(0.8)
    return pipe


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


class Extractor:
    """What CLIP's image processor does, without torchvision: 32 x 32, normalised."""

    def __call__(self, image: Any, return_tensors: str = "pt") -> Any:
        from types import SimpleNamespace

        import torch

        pictures = image if isinstance(image, list) else [image]
        pixels = [np.asarray(one.resize((32, 32)), np.float32) / 127.5 - 1 for one in pictures]
        return SimpleNamespace(pixel_values=torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))

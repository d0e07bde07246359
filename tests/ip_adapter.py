"""diffusers' own IP-Adapter on a pipeline, random, no file from anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def with_ip_adapter(pipe: Any) -> Any:
    """diffusers' own IP-Adapter on a pipeline: image encoder, projection, and decoupled cross-attention; random."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(2)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = CLIPVisionConfig(image_size=32, patch_size=8, projection_dim=10, **sizes)
    pipe.register_modules(image_encoder=CLIPVisionModelWithProjection(vision).eval(), feature_extractor=Extractor())
    width = pipe.unet.config.cross_attention_dim
    places = [attn for name, attn in pipe.unet.named_modules() if name.endswith("attn2")]
    layers = {
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
    pipe.unet._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": layers}])
    pipe.set_ip_adapter_scale(0.8)
    return pipe


class Extractor:
    """What CLIP's image processor does, without torchvision: 32 x 32, normalised."""

    def __call__(self, image: Any, return_tensors: str = "pt") -> Any:
        from types import SimpleNamespace

        pictures = image if isinstance(image, list) else [image]
        pixels = [np.asarray(one.resize((32, 32)), np.float32) / 127.5 - 1 for one in pictures]
        return SimpleNamespace(pixel_values=torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))

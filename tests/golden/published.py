"""The rule behind the golden numbers: weights and inputs from seeds, outputs from the file beside this."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent
LAYER = ".attn2.processor."


def keys(name: str) -> dict[str, list[int]]:
    """Names and shapes of a published file: "transface" or "adapter_sd15"."""
    return json.loads((HERE / "published_keys.json").read_text())[name]


def make_state(shapes: Mapping[str, Sequence[int]], seed: int = 1234) -> dict[str, Tensor]:
    """One stream of normal draws over the sorted names; gates are 0.5."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _value(name, shapes[name], generator) for name in sorted(shapes)}


def _value(name: str, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    last = name.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.zeros((), dtype=torch.long)
    if last in ("alpha_attn", "alpha_dense"):
        return torch.tensor(0.5)
    z = 0.02 * torch.randn(tuple(shape), generator=generator)
    if last == "weight" and len(shape) == 1:
        return 1 + z
    return 1 + z.abs() if last == "running_var" else z


def inputs() -> dict[str, Tensor]:
    def normal(seed: int, *shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    return {
        "face_img": torch.rand((2, 3, 112, 112), generator=torch.Generator().manual_seed(4321)) * 2 - 1,
        "resampler_in": normal(4322, 1, 144, 512),
        "latents": normal(4323, 2, 4, 16, 16),
        "text": normal(4324, 2, 77, 768),
        "face_tokens": normal(4325, 2, 32, 768),
        "timestep": torch.tensor([801, 801]),
    }


def outputs() -> dict[str, Tensor]:
    with np.load(HERE / "golden.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file}


def small_unet() -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**json.loads((HERE / "unet_small.json").read_text())).eval()


def small_unet_states(unet: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The small U-Net's own weights, and those of the adapter in it as the published file names them. The published
    code moved the base model's norm2 into the adapter, which is why the rule knows it under that name."""
    from facefact.adapter import AdapterLayers, layer_configs

    with torch.device("meta"):
        layers = AdapterLayers(layer_configs(unet)).state_dict()
    blocks = list(layer_configs(unet))
    published = {name: _published_name(name, blocks) for name in layers}
    moved = {
        name: name.replace(".norm2.", f"{LAYER}ln.") for name in unet.state_dict() if ".transformer_blocks." in name
    }
    shapes = {moved.get(name, name): value.shape for name, value in unet.state_dict().items()}
    shapes |= {published[name]: value.shape for name, value in layers.items()}
    assert len(shapes) == 956  # as published
    state = make_state(shapes)
    return (
        {name: state[moved.get(name, name)] for name in unet.state_dict()},
        {name: value for name, value in state.items() if LAYER in name},
    )


def _published_name(name: str, blocks: Sequence[str]) -> str:
    block = next(block for block in blocks if name.startswith(f"{block}."))
    return block + LAYER + name[len(block) + 1 :]


def as_published(adapter: Any) -> dict[str, Tensor]:
    """The state of a FaceAdapter's resampler and layers, in the names of the published adapter file."""
    layers = {_published_name(k, list(adapter.layers.configs)): v for k, v in adapter.layers.state_dict().items()}
    return {f"local_fac_prj.{k}": v for k, v in adapter.resampler.state_dict().items()} | layers

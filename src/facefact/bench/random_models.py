"""Models of published sizes with random weights, without any file: for what they cost, not for what they draw."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from facefact.demo import bundle_path
from facefact.face_adapter import FaceAdapter
from facefact.train.material.random_base import SHAPES
from facefact.types import UserError

IMAGE_TOKENS, IMAGE_WIDTH = 257, 1280  # what IP-Adapter-plus reads of a picture: CLIP ViT-H/14 before its last layer
QUERIES = 16  # tokens that it makes of them
NOISE = 1 << 16  # numbers that all weights repeat

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Shape:
    """A U-Net's architecture. unet: diffusers' configuration. size: pixels it is made for. image_resampler: width of
    IP-Adapter-plus' resampler for it."""

    unet: Mapping[str, Any]
    size: int
    image_resampler: int

    @property
    def step(self) -> int:
        """Pixels that sizes of pictures are multiples of: latents are 8 px wide, and each further level halves them."""
        return 8 * 2 ** (len(self.unet["block_out_channels"]) - 1)


NAMES = ("sd15", "sdxl", "demo")


@cache
def shape_of(name: str) -> Shape:
    """sd15, sdxl, or demo: the embedded model's."""
    if name == "sd15":
        return Shape(SHAPES["sd15"].unet, 512, 768)
    if name == "sdxl":
        return Shape(SHAPES["sdxl"].unet, 1024, 1280)
    if name == "demo":
        config = json.loads((Path(bundle_path()) / "unet" / "config.json").read_text(encoding="utf-8"))
        return Shape({key: value for key, value in config.items() if not key.startswith("_")}, 128, 128)
    raise UserError(f"unknown shape {name!r}: choose from {', '.join(NAMES)}")


def new_unet(shape: Shape) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**shape.unet)


def new_controlnet(unet: Any) -> Any:
    """A ControlNet for this U-Net: a copy of its first half, with what reads the picture that controls."""
    from diffusers import ControlNetModel

    return ControlNetModel.from_unet(unet, load_weights_from_unet=False)


def new_adapter(unet: Any) -> FaceAdapter:
    """A face adapter with this U-Net's layers. Its encoder and resampler are small: tokens are given here."""
    from facefact.adapter import text_width
    from facefact.encoder import ResamplerConfig, TransFace, TransFaceConfig

    encoder = TransFace(TransFaceConfig(patch_size=56, width=8, depth=1, heads=2, embedding_size=4))
    small = ResamplerConfig(
        input_width=8, width=8, depth=1, heads=2, head_width=4, queries=QUERIES, output_width=text_width(unet)
    )
    return FaceAdapter.new(unet, encoder=encoder, resampler_config=small)


class ImagePrompt(nn.Module):
    """diffusers' own IP-Adapter-plus for a U-Net: a resampler, and keys and values of its tokens for every layer that
    reads the text."""

    def __init__(self, unet: Any, width: int) -> None:
        from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
        from diffusers.models.embeddings import IPAdapterPlusImageProjection, MultiIPAdapterImageProjection

        super().__init__()
        text = unet.config.cross_attention_dim
        self.projection = MultiIPAdapterImageProjection(
            [IPAdapterPlusImageProjection(IMAGE_WIDTH, text, width, heads=width // 64, num_queries=QUERIES)]
        )
        self.names = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
        widths = [unet.get_submodule(name.removesuffix(".processor")).inner_dim for name in self.names]
        self.processors = nn.ModuleList(IPAdapterAttnProcessor2_0(inner, text, (QUERIES,)) for inner in widths)

    def put_on(self, unet: Any) -> Callable[[], None]:
        """As `load_ip_adapter` does. Returns what takes it off again."""
        before = unet.attn_processors
        unet.set_attn_processor(before | dict(zip(self.names, self.processors, strict=True)))
        unet.encoder_hid_proj, unet.config.encoder_hid_dim_type = self.projection, "ip_image_proj"

        def take_off() -> None:
            unet.encoder_hid_proj = unet.config.encoder_hid_dim_type = None  # first: the resampler has attention too
            unet.set_attn_processor(before)

        return take_off


def on_meta(make: Callable[[], Model]) -> Model:
    """The model without memory."""
    with torch.device("meta"):
        return make()


def weight_bytes(model: nn.Module, dtype: torch.dtype) -> int:
    """What the model's weights take in a type."""
    return sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize


def random_model(make: Callable[[], Model], *, device: torch.device, dtype: torch.dtype) -> Model:
    """The model for use, in seconds whatever its size: its matrices repeat a stretch of noise, scaled so that numbers
    keep their size from layer to layer; norms are 1, gates 0.5, biases 0."""
    model = nn.Module.to(on_meta(make), dtype).to_empty(device=device)
    noise = torch.randn(NOISE, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    for name, tensor in model.state_dict().items():
        if tensor.ndim > 1 and tensor.is_floating_point():
            _fill(tensor, noise, tensor[0].numel() ** -0.5)
        else:
            tensor.fill_(0.5 if tensor.ndim == 0 else float(name.endswith(("weight", "var"))))
    return model.eval().requires_grad_(False)


def _fill(tensor: Tensor, noise: Tensor, size: float) -> None:
    """Any shape; noise: (NOISE,), which is repeated. In place."""
    for part in tensor.view(-1).split(len(noise)):
        torch.mul(noise[: len(part)], size, out=part)

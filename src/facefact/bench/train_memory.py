"""The memory that a training needs on each GPU, computed: weights, gradients, optimizer, average and activations.

Counted exactly: parameters, from the networks' shapes (no weight is allocated). Measured, by counting what autograd
keeps of one forward pass with fused attention: activations (`KEPT`). Not counted: the CUDA context and libraries (about
1 GB), buffers in flight, and what the allocator loses to fragments: allow a tenth more. The figures for FSDP2 and
DeepSpeed follow from what their documentation says that they hold; they have not been measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from facefact.adapter import AdapterLayers, chosen, layer_configs, text_width
from facefact.adapter.denoiser import transformer_blocks
from facefact.encoder import Resampler, ResamplerConfig, TransFace, TransFaceConfig
from facefact.train.material.random_base import SHAPES, byte_tokenizer, empty_parts

Sharing = Literal["ddp", "fsdp", "zero2"]
GIB = 1 << 30
FLOAT, HALF = 4, 2  # bytes
BUCKET = 500_000_000  # elements of DeepSpeed's reduce bucket, its default

# GiB of one picture that autograd keeps between forward and backward, (shape, pixels, gradient checkpointing).
KEPT: Mapping[tuple[str, int, bool], float] = {
    ("sd15", 512, False): 1.41,
    ("sd15", 512, True): 0.30,
    ("sdxl", 1024, False): 11.3,
    ("sdxl", 1024, True): 1.14,
}


@dataclass(frozen=True)
class Sizes:
    """Numbers of parameters. unet: all of the frozen U-Net. blocks: those in its transformer blocks, which FSDP shards;
    largest: the greatest of these. beside: the autoencoder and the face encoder (fp32). text: the text models. learned:
    resampler and layers."""

    unet: int
    blocks: int
    largest: int
    beside: int
    text: int
    learned: int


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def sizes(shape: str, blocks: Sequence[str] | None = None) -> Sizes:
    """Of a published base model ("sd15", "sdxl") with the published encoder and resampler. blocks: those that carry the
    adapter, as in its settings; None: all."""
    vae, unet, text = empty_parts(SHAPES[shape], byte_tokenizer())
    with torch.device("meta"):
        layers = AdapterLayers(chosen(layer_configs(unet), blocks), blocks=blocks)
        resampler = Resampler(replace(ResamplerConfig(), output_width=text_width(unet)))
        encoder = TransFace(TransFaceConfig())
    hosts = [count(block) for block in transformer_blocks(unet).values()]
    return Sizes(
        unet=count(unet),
        blocks=sum(hosts),
        largest=max(hosts),
        beside=count(vae) + count(encoder),
        text=sum(map(count, text)),
        learned=count(layers) + count(resampler),
    )


def per_gpu(
    made: Sizes, sharing: Sharing, *, processes: int = 1, pictures: int = 1, kept: float = 0.0
) -> dict[str, float]:
    """GiB on each GPU by what it is for, and "total". Base in bf16, adapter in fp32 under bf16 autocast, AdamW.

    pictures: of one process in one pass. kept: GiB of one picture's activations (`KEPT`). One process: sharing "ddp"
    without its buckets. The parts for the validation and the cache (VAE, text models, encoder) stay on the first GPU.
    """
    n, learned = processes, made.learned
    whole = made.unet * HALF
    if sharing == "ddp":
        parts: dict[str, float] = {
            "frozen U-Net": whole,
            "adapter": learned * (FLOAT + HALF),  # (and autocast's copy)
            "gradients": learned * FLOAT * (2 if n > 1 else 1),  # (and DDP's buckets)
            "AdamW": learned * 2 * FLOAT,
            "average": learned * FLOAT,
        }
    elif sharing == "fsdp":  # the learned layers lie in the root group, which stays gathered during a step
        gathered = made.unet - made.blocks + 2 * made.largest  # (one block computes, the next one is on its way)
        parts = {
            "frozen U-Net": whole / n + gathered * HALF,
            "adapter": learned * (FLOAT / n + HALF),
            "gradients": learned * (FLOAT / n + HALF),
            "AdamW": learned * 2 * FLOAT / n,
            "average": learned * FLOAT / n,
        }
    else:  # DeepSpeed's bf16: the adapter itself in bf16, its fp32 masters shared out
        parts = {
            "frozen U-Net": whole,
            "adapter": learned * (HALF + FLOAT / n),
            "gradients": learned * FLOAT / n + min(BUCKET, learned) * 2 * HALF,  # (and two buckets on their way)
            "AdamW": learned * 2 * FLOAT / n,
            "average": learned * FLOAT,
        }
    parts["VAE, text, encoder"] = made.beside * FLOAT + made.text * HALF
    found = {name: value / GIB for name, value in parts.items()} | {"activations": pictures * kept}
    return found | {"total": sum(found.values())}

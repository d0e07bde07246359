"""What the frozen parts make of pictures, captions and faces."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from facefact.autoencoder import encode
from facefact.train.material.frozen import Base, Frozen


def in_low_precision(base: Base) -> AbstractContextManager[Any]:
    """Bf16 arithmetic where the base model is in bf16 (about 0.5 % of error in latents and tokens); fp16 would overflow
    in SDXL's autoencoder."""
    return torch.autocast(base.vae.device.type, torch.bfloat16, enabled=base.unet.dtype == torch.bfloat16)


@torch.no_grad()
def encode_pictures(base: Base, images: Tensor) -> Tensor:
    """(n, 3, h, w) in [-1, 1] -> (n, c, h / factor, w / factor) float32 latents as the U-Net reads them (see
    `autoencoder.encode`)."""
    with in_low_precision(base):
        return encode(base.vae, images.to(memory_format=torch.channels_last)).float().contiguous()


def tokenize(tokenizer: Any, captions: Sequence[str]) -> Tensor:
    """(n, model_max_length) int64 token ids as a Stable Diffusion pipeline makes them: padded, longer captions cut."""
    return tokenizer(
        list(captions),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids


def token_ids(base: Base, captions: Sequence[str]) -> Tensor:
    """n captions -> int64 (n, length) of the one text model, (n, 2, length) of SDXL's; padded, longer ones cut."""
    rows = [tokenize(tokenizer, captions) for tokenizer in base.tokenizers]
    return torch.stack(rows, dim=1) if base.is_xl else rows[0]


@torch.no_grad()
def encode_ids(base: Base, ids: Tensor) -> tuple[Tensor, Tensor | None]:
    """What `token_ids` made -> (n, length, width) states of the text model in its type, and None; of SDXL's two models
    the states before the last layer side by side, and (n, width) of the second one's summary."""
    ids = ids.to(base.text_encoders[0].device)
    if not base.is_xl:
        return base.text_encoders[0](ids)[0], None
    first, second = (one(ids[:, i], output_hidden_states=True) for i, one in enumerate(base.text_encoders))
    return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1), second.text_embeds


def encode_text(base: Base, captions: Sequence[str]) -> tuple[Tensor, Tensor | None]:
    """n captions -> what `encode_ids` makes of them: (n, length, width), and with SDXL (n, width)."""
    return encode_ids(base, token_ids(base, captions))


@torch.no_grad()
def encode_faces(frozen: Frozen, heads: Tensor) -> Tensor:
    """(n, 3, 112, 112) aligned, masked heads in [-1, 1] -> (n, tokens, width) float32."""
    weight = frozen.encoder.pos_embed
    with in_low_precision(frozen):
        return frozen.encoder(heads.to(weight.device, weight.dtype)).float()

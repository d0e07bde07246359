"""A face as one embedding, in the place of the resampler's sixteen tokens: what IP-Adapter-FaceID's network reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facefact.encoder import TransFace


@dataclass(frozen=True)
class GlobalConfig:
    """As much of a ResamplerConfig as others ask of what stands in the resampler's place."""

    input_width: int
    queries: int
    output_width: int


class GlobalFace(nn.Module):
    """The encoder's recognition embedding -> a few tokens of the text's width, by a network of two layers (as the
    `MLPProjModel` of IP-Adapter-FaceID, Ye et al. 2023). It stands where the resampler does, and reads what it reads.

    encoder: frozen, and no part of this module.
    """

    def __init__(self, encoder: TransFace, *, tokens: int, hidden: int, output_width: int) -> None:
        super().__init__()
        self._encoder = (encoder,)  # in a tuple nn.Module does not register it
        self.tokens = tokens
        self.config = GlobalConfig(encoder.config.width, tokens, output_width)
        self.enter = nn.Linear(encoder.config.embedding_size, hidden)
        self.leave = nn.Linear(hidden, tokens * output_width)
        self.norm = nn.LayerNorm(output_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (n, encoder tokens, encoder width), all zero for nobody -> (n, tokens, output width)."""
        encoder, weight = self._encoder[0], self.enter.weight
        with torch.no_grad():
            somebody = (tokens != 0).flatten(1).any(1, keepdim=True)
            own = next(encoder.parameters())
            embedding = F.normalize(encoder.embed_tokens(tokens.to(own.device, own.dtype)), dim=-1) * somebody
        made = self.leave(F.gelu(self.enter(embedding.to(weight.device, weight.dtype))))
        return self.norm(made.unflatten(-1, (self.tokens, -1)))

"""TransFace: the vision transformer, trained for face recognition, whose local tokens are the face condition.

Dan et al., "TransFace: Calibrating Transformer Training for Face Recognition from a Data-Centric Perspective", ICCV
2023. Parameter names are those of the published weights. What differs from a plain ViT: no class token, no bias in
qkv, ReLU6 in the MLP, and a squeeze-excitation gate over the tokens in front of the recognition head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class TransFaceConfig:
    """Architecture; the defaults are TransFace-S. Sizes in pixels (image, patch) and channels (width, embedding).

    Patches tile the image from its upper left; what is left over at the right and at the bottom is not seen
    (112 = 12 * 9 + 4).
    """

    image_size: int = 112
    patch_size: int = 9
    width: int = 512
    depth: int = 12
    heads: int = 8
    mlp_ratio: float = 4.0
    embedding_size: int = 512

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.patch_size > self.image_size:
            raise ValueError(f"patch_size {self.patch_size} is larger than image_size {self.image_size}")

    @property
    def tokens(self) -> int:
        """Number of local tokens."""
        return (self.image_size // self.patch_size) ** 2


class PatchEmbed(nn.Module):
    """Cut the image into patches and project each."""

    def __init__(self, config: TransFaceConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, kernel_size=config.patch_size, stride=config.patch_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, image_size, image_size) -> (n, tokens, width)"""
        return self.proj(pixels).flatten(2).transpose(1, 2)


class SelfAttention(nn.Module):
    def __init__(self, config: TransFaceConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, tokens, width) -> the same."""
        n, tokens, width = x.shape
        q, k, v = self.qkv(x).view(n, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)  # n h t d
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(n, tokens, width))


class MLP(nn.Module):
    def __init__(self, config: TransFaceConfig) -> None:
        super().__init__()
        hidden = int(config.width * config.mlp_ratio)
        self.fc1 = nn.Linear(config.width, hidden)
        self.fc2 = nn.Linear(hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, tokens, width) -> the same."""
        return self.fc2(F.relu6(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, config: TransFaceConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width)
        self.attn = SelfAttention(config)
        self.norm2 = nn.LayerNorm(config.width)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, tokens, width) -> the same."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TransFace(nn.Module):
    """Aligned faces -> local tokens (`forward`) or one embedding per face (`embed`).

    pixels: (n, 3, image_size, image_size) RGB in [-1, 1].
    """

    def __init__(self, config: TransFaceConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TransFaceConfig()
        tokens, width, size = config.tokens, config.width, config.embedding_size
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, width))
        # Read by the published training only; kept so that its files load strictly.
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width), requires_grad=False)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.senet = nn.Sequential(
            nn.Linear(tokens * width, tokens, bias=False),
            nn.ReLU(),
            nn.Linear(tokens, tokens, bias=False),
            nn.Sigmoid(),
        )
        self.feature = nn.Sequential(
            nn.Linear(tokens * width, width, bias=False),
            nn.BatchNorm1d(width, eps=2e-5),
            nn.Linear(width, size, bias=False),
            nn.BatchNorm1d(size, eps=2e-5),
        )
        self.apply(_initialise)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, image_size, image_size) in [-1, 1] -> (n, tokens, width), after the final LayerNorm: what FACT
        uses."""
        x = self.patch_embed(pixels) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def embed(self, pixels: Tensor) -> Tensor:
        """(n, 3, image_size, image_size) in [-1, 1] -> (n, embedding_size), not normalised: for recognition."""
        return self.embed_tokens(self(pixels))

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """The recognition head on the tokens of `forward`: (n, tokens, width) -> (n, embedding_size)."""
        return self.embed_gated(self.gated(tokens)[0])

    def gated(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(n, tokens, width) of `forward` -> the tokens times their gates, and the gates, (n, tokens) in (0, 1): how
        much each place of the face counts for recognition."""
        gate = self.senet(tokens.flatten(1))
        return tokens * gate[:, :, None], gate

    def embed_gated(self, gated: Tensor) -> Tensor:
        """The rest of the head: (n, tokens, width) of `gated` -> (n, embedding_size)."""
        return self.feature(gated.flatten(1))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

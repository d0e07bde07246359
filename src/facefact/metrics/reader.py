"""A reader of named attributes: which hair, which glasses, which scene. Trained on renders, used to score generated
pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from facefact import checkpoint


@dataclass(frozen=True)
class ReaderConfig:
    """factors: for each attribute, how many values it has. size: side of the square RGB input in pixels."""

    factors: dict[str, int] = field(default_factory=dict)
    widths: tuple[int, ...] = (24, 48, 80, 112)
    hidden: int = 128
    size: int = 128


def conv(channels_in: int, channels_out: int) -> nn.Sequential:
    groups = channels_out // 8
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, 2, 1, bias=False),
        nn.GroupNorm(groups, channels_out),
        nn.SiLU(),
        nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False),
        nn.GroupNorm(groups, channels_out),
        nn.SiLU(),
    )


class AttributeReader(nn.Module):
    """(n, 3, size, size) RGB in [-1, 1] -> for each attribute (n, values) logits."""

    def __init__(self, config: ReaderConfig):
        super().__init__()
        self.config = config
        widths = (3, *config.widths)
        levels = (conv(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.body = nn.Sequential(*levels, nn.AvgPool2d(2), nn.Flatten())
        cells = (config.size // 2 ** (len(config.widths) + 1)) ** 2
        self.hidden = nn.Sequential(nn.Linear(widths[-1] * cells, config.hidden), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(config.hidden, n) for name, n in config.factors.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """See the class: (n, 3, size, size) -> (n, values) logits by attribute."""
        features = self.hidden(self.body(pixels))
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, pixels: Tensor) -> dict[str, Tensor]:
        """For each attribute (n,) the index of the likeliest value."""
        parts = [self(part) for part in pixels.split(64)]
        return {name: torch.cat([part[name].argmax(-1) for part in parts]) for name in self.heads}

    def save_pretrained(self, directory: str | Path, *, dtype: torch.dtype | None = None) -> None:
        state = {name: value.to(dtype or value.dtype) for name, value in self.state_dict().items()}
        checkpoint.save(directory, state, asdict(self.config))

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> AttributeReader:
        state, config = checkpoint.load(directory)
        factors: Mapping[str, int] = config["factors"]
        reader = cls(ReaderConfig(dict(factors), tuple(config["widths"]), config["hidden"], config["size"]))
        reader.load_state_dict({name: value.float() for name, value in state.items()})
        return reader.eval()

"""The network that finds the one avatar in a picture of the embedded world. Architecture and loss: no files, no device.

A convolutional encoder to 1/16 of the picture, a decoder back to 1/4, and three kinds of answers: is there an avatar
and where is its box (from the whole 1/16 map), five landmarks (the mean position under one heat map each, so that a
shifted picture gives shifted landmarks), and two maps (head with hair; face oval). About 0.3 M parameters. GroupNorm,
so that training and inference are the same function."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LANDMARKS = 5


@dataclass(frozen=True)
class AvatarNetConfig:
    """size: side of the square RGB input in pixels, a multiple of 16. widths: channels at 1/2, 1/4, 1/8 and 1/16 of it.

    decoder: channels of the maps at 1/4. hidden: width of the layer before presence and box.
    """

    size: int = 128
    widths: tuple[int, int, int, int] = (24, 48, 72, 96)
    decoder: int = 48
    hidden: int = 64


@dataclass(frozen=True)
class AvatarOutput:
    """What the network says of n pictures. Coordinates are fractions of the square input: (pixel index + 0.5) / size.

    presence: (n,) logit. box: (n, 4) x0, y0, x1, y1. landmarks: (n, 5, 2) x, y in the order of `facefact.types.Face`.
    head, oval: (n, size / 4, size / 4) logits of "head with hair" and "face oval" per cell.
    """

    presence: Tensor
    box: Tensor
    landmarks: Tensor
    head: Tensor
    oval: Tensor


def conv(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, GroupNorm with eight channels a group, SiLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
        nn.GroupNorm(channels_out // 8, channels_out),
        nn.SiLU(),
    )


def mean_position(heat: Tensor) -> Tensor:
    """(n, k, h, w) logits -> (n, k, 2): the expected x, y under its softmax (soft-argmax), as fractions of the map."""
    h, w = heat.shape[-2:]
    weight = heat.flatten(2).float().softmax(-1).unflatten(-1, (h, w))
    x = (torch.arange(w, device=heat.device) + 0.5) / w
    y = (torch.arange(h, device=heat.device) + 0.5) / h
    return torch.stack([(weight.sum(-2) * x).sum(-1), (weight.sum(-1) * y).sum(-1)], -1)


class AvatarNet(nn.Module):
    """(n, 3, size, size) float RGB in [-1, 1] -> AvatarOutput."""

    def __init__(self, config: AvatarNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or AvatarNetConfig()
        a, b, c, d = self.config.widths
        wide = self.config.decoder
        self.to_half = conv(3, a, stride=2)
        self.to_quarter = nn.Sequential(conv(a, b, stride=2), conv(b, b))
        self.to_eighth = conv(b, c, stride=2)
        self.to_sixteenth = nn.Sequential(conv(c, d, stride=2), conv(d, d))
        self.from_sixteenth = nn.Conv2d(d, wide, 1)
        self.from_eighth = nn.Conv2d(c, wide, 1)
        self.from_quarter = nn.Conv2d(b, wide, 1)
        self.up_eighth = conv(wide, wide)
        self.up_quarter = conv(wide, wide)
        self.maps = nn.Conv2d(wide, LANDMARKS + 2, 1)
        cells = (self.config.size // 16) ** 2
        self.whole = nn.Sequential(
            nn.Conv2d(d, 16, 1), nn.Flatten(), nn.Linear(16 * cells, self.config.hidden), nn.SiLU()
        )
        self.answer = nn.Linear(self.config.hidden, 5)

    def forward(self, pixels: Tensor) -> AvatarOutput:
        """(n, 3, size, size) RGB in [-1, 1]."""
        quarter = self.to_quarter(self.to_half(pixels))
        eighth = self.to_eighth(quarter)
        sixteenth = self.to_sixteenth(eighth)
        x = self.up_eighth(F.interpolate(self.from_sixteenth(sixteenth), scale_factor=2.0) + self.from_eighth(eighth))
        x = self.up_quarter(F.interpolate(x, scale_factor=2.0) + self.from_quarter(quarter))
        maps = self.maps(x)
        answer = self.answer(self.whole(sixteenth))
        return AvatarOutput(
            presence=answer[:, 0],
            box=answer[:, 1:].sigmoid(),
            landmarks=mean_position(maps[:, :LANDMARKS]),
            head=maps[:, LANDMARKS],
            oval=maps[:, LANDMARKS + 1],
        )


def avatar_loss(output: AvatarOutput, target: AvatarOutput) -> dict[str, Tensor]:
    """The terms to be added up, each a scalar. `target` has the output's fields: presence, head and oval in [0, 1].

    Box, landmarks and maps count where the target's presence is 1. Landmarks and box are in units of 1/100 of the
    input's side (smooth L1), so that the terms are of one magnitude."""
    present = (target.presence > 0.5).float()
    count = present.sum().clamp(min=1.0)

    def over_present(loss: Tensor) -> Tensor:
        return (loss.flatten(1).mean(1) * present).sum() / count

    return {
        "presence": F.binary_cross_entropy_with_logits(output.presence, target.presence),
        "box": 0.1 * over_present(F.smooth_l1_loss(100 * output.box, 100 * target.box, reduction="none")),
        "landmarks": over_present(F.smooth_l1_loss(100 * output.landmarks, 100 * target.landmarks, reduction="none")),
        "head": over_present(F.binary_cross_entropy_with_logits(output.head, target.head, reduction="none")),
        "oval": over_present(F.binary_cross_entropy_with_logits(output.oval, target.oval, reduction="none")),
    }

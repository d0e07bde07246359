"""dlib's face network (its example `dnn_face_recognition_ex.cpp`), read from dlib's own file and computed by PyTorch.

dlib's wheels compute convolutions without a BLAS: 57 ms a face of a CPU core, in batches too. PyTorch takes 4 ms in
batches of eight, for the same numbers to 1e-6.

    chip -> 7x7 convolution, pooling -> 14 residual blocks (32 to 256 channels, halved four times) -> mean -> 128
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facefact.types import UserError

MEAN = (122.782, 117.001, 104.298)  # of the chips' red, green, blue; then everything is divided by 256
BLOCKS = (  # channels, whether the block halves the side; in the order of the file, from the picture on
    *(((32, False),) * 3),
    *((64, True), *(((64, False),) * 3)),
    *((128, True), *(((128, False),) * 2)),
    *((256, True), *(((256, False),) * 2)),
    (256, True),
)
EMBEDDING = 128


class Block(nn.Module):
    """Two 3x3 convolutions beside the identity (where it halves: beside the mean of 2x2 pixels). What is narrower, or
    has fewer channels, counts as filled up with zeros."""

    def __init__(self, channels_in: int, channels: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        stride, padding = (2, 0) if halves else (1, 1)
        self.first = nn.Conv2d(channels_in, channels, 3, stride, padding)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c', h', w')."""
        y = self.second(F.relu(self.first(x)))
        return F.relu(added(F.avg_pool2d(x, 2) if self.halves else x, y))


def added(x: Tensor, y: Tensor) -> Tensor:
    """(n, c, h, w) and (n, c', h', w') -> their sum, of the larger size each way."""
    if x.shape == y.shape:
        return x + y
    channels, height, width = (max(pair) for pair in zip(x.shape[1:], y.shape[1:], strict=True))

    def filled(one: Tensor) -> Tensor:
        return F.pad(one, (0, width - one.shape[3], 0, height - one.shape[2], 0, channels - one.shape[1]))

    return filled(x) + filled(y)


class DlibNet(nn.Module):
    """(n, 3, 150, 150) chips, red, green, blue in 0..255 -> (n, 128)."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.stem = nn.Conv2d(3, BLOCKS[0][0], 7, 2)
        widths = [BLOCKS[0][0], *(channels for channels, _ in BLOCKS)]
        self.blocks = nn.Sequential(
            *(Block(before, channels, halves) for before, (channels, halves) in zip(widths, BLOCKS, strict=False))
        )
        self.head = nn.Linear(widths[-1], EMBEDDING, bias=False)

    def forward(self, chips: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem((chips - self.mean) / 256)), 3, 2)
        return self.head(self.blocks(x).mean((2, 3)))


# dlib's file: names of layers, and after each the tensor of its weights


def read_dlib_net(path: Path) -> DlibNet:
    """dlib_face_recognition_resnet_model_v1.dat, for use. The scale and shift after each convolution go into its
    weights. UserError: another network, or damaged."""
    try:
        file = _File(path.read_bytes())
        net = DlibNet()
        for layer in (one for one in net.modules() if isinstance(one, nn.Conv2d)):
            weights, scale = file.after(b"con_4"), file.after(b"affine_")
            split = layer.weight.numel()
            gamma, beta = (torch.from_numpy(one) for one in scale.reshape(2, layer.out_channels))
            kernel = torch.from_numpy(weights[:split]).view_as(layer.weight)
            layer.weight.data = kernel * gamma[:, None, None, None]
            layer.bias.data = torch.from_numpy(weights[split:]).view_as(layer.bias) * gamma + beta  # type: ignore
        last = file.after(b"fc_2", numbers=2)  # (how many outputs and inputs)
        net.head.weight.data = torch.from_numpy(last.reshape(net.head.in_features, EMBEDDING)).T.contiguous()
    except (OSError, ValueError, IndexError, RuntimeError) as error:
        raise UserError(f"{path} is not dlib's face recogniser, or is damaged ({error})") from error
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class _File:
    """What dlib's `serialize` has written, read from its beginning on."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def after(self, name: bytes, *, numbers: int = 0) -> np.ndarray:
        """(n,) float32: the tensor that follows the next layer of that name, and so many whole numbers."""
        self.at = self.content.index(name, self.at) + len(name)
        for _ in range(numbers):
            self._integer()
        if (version := self._integer()) != 2:
            raise ValueError(f"a tensor of version {version}")
        count = int(np.prod([self._integer() for _ in range(4)]))
        values = np.frombuffer(self.content, "<f4", count, self.at)
        self.at += 4 * count
        return values.astype(np.float32)

    def _integer(self) -> int:
        """One byte says how many follow (and the sign), the lowest first."""
        head = self.content[self.at]
        start, self.at = self.at + 1, self.at + 1 + (head & 0x7F)
        value = int.from_bytes(self.content[start : self.at], "little")
        return -value if head & 0x80 else value

"""How networks see pictures: as tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_pixels(image: np.ndarray) -> Tensor:
    """(h, w, 3) uint8 -> (3, h, w) float in [-1, 1]."""
    return torch.from_numpy(image.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)

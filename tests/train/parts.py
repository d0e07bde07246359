"""Small real parts for the tests of the adapter's training: frozen parts, a filled cache, a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facefact import FaceAdapter
from facefact.encoder import ResamplerConfig
from facefact.train.adapter.fact import FactStage
from facefact.train.bundle.base_model import new_scheduler
from facefact.train.material.base import open_frozen
from facefact.train.material.cache import Cache
from facefact.train.material.fill import fill
from facefact.train.material.frozen import Frozen
from facefact.train.material.world import WorldSource
from facefact.train.settings import BaseModel, Loss, NewAdapter

SIZE, LOOKS, CELLS = 64, 4, 8
RESAMPLER = ResamplerConfig(input_width=32, width=32, depth=1, heads=2, head_width=16, queries=4, output_width=32)


def frozen(shape: str = "tiny") -> Frozen:
    return open_frozen(BaseModel(source=f"random:{shape}"), NewAdapter(encoder="random:tiny"), bundle=Path("nowhere"))


def filled(folder: Path, parts: Frozen, *, people: int = 5, looks: int = LOOKS) -> Cache:
    """Rendered people, everything frozen computed."""
    return Cache.open(fill(WorldSource(people, looks, 7), parts, folder, size=SIZE, progress=False))


def fact_stage(parts: Frozen, loss: Loss, *, gate: float = 0.0, velocity: bool = False, **more: Any) -> FactStage:
    torch.manual_seed(1)
    adapter = FaceAdapter.new(parts.unet, encoder=parts.encoder, resampler_config=RESAMPLER, gate=gate)
    return FactStage(adapter, parts.unet, new_scheduler() if velocity else parts.scheduler, loss, **more)


def batch(cache: Cache, *, n: int = 6, step: int = 0) -> dict[str, Tensor]:
    """n pictures, each with itself as the condition, nothing dropped."""
    index = np.arange(n)
    return {
        **cache.gather(index),
        **cache.text_of(index),
        "tokens": cache.tokens_of(index)[:, None],
        "face_dropped": torch.zeros(n, dtype=torch.bool),
        "no_other_picture": torch.zeros(n, dtype=torch.bool),
        "person": torch.from_numpy(cache.persons[index]),
        "step": torch.tensor(step),
    }

"""A face encoder that stands alone on disk: its weights and its settings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from facefact import checkpoint
from facefact.config import from_tree
from facefact.encoder.transface import TransFace, TransFaceConfig


def save_transface(network: TransFace, directory: Path, *, dtype: torch.dtype | None = None) -> None:
    """dtype: to store the weights in; None keeps theirs."""
    state = {k: v.to(dtype) if dtype and v.is_floating_point() else v for k, v in network.state_dict().items()}
    checkpoint.save(directory, state, asdict(network.config))


def load_transface(directory: Path) -> TransFace:
    """For use, in float32. UserError: there is none, or it is not whole."""
    state, config = checkpoint.load(directory)
    with torch.device("meta"):
        network = TransFace(from_tree(TransFaceConfig, config, where=f"{directory}: "))
    checkpoint.load_strictly(network, state, source=directory, dtype=torch.float32)
    return network.eval()

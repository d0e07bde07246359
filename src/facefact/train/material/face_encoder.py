"""The face encoder that an adapter's settings name, wherever it lies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from facefact import checkpoint
from facefact.encoder import TransFace, TransFaceConfig
from facefact.encoder.facechain import encoder_from_state
from facefact.encoder.files import load_transface
from facefact.face_adapter import FORMAT, FaceAdapter
from facefact.hub import is_hub_id
from facefact.train.material.frozen import BUNDLE
from facefact.train.material.random_base import filled
from facefact.types import UserError

ADAPTER = "adapter"  # where a bundle keeps its adapter

ENCODERS: Mapping[str, TransFaceConfig] = {
    "transface-s": TransFaceConfig(),
    "tiny": TransFaceConfig(patch_size=28, width=32, depth=1, heads=2, embedding_size=16),
}


def frozen_encoder(source: str, *, bundle: Path) -> TransFace:
    """The face encoder that `adapter.encoder` names (see `NewAdapter`), frozen, in float32, on the CPU.

    UserError: no such one, a broken one."""
    if source.startswith("random:"):
        name = source.removeprefix("random:")
        if name not in ENCODERS:
            raise UserError(f"adapter.encoder: no shape is called {name!r}; random: has {', '.join(ENCODERS)}")
        with torch.device("meta"):
            empty = TransFace(ENCODERS[name])
        encoder = filled(empty, torch.float32)
    elif source == BUNDLE:
        encoder = _encoder_in(bundle / ADAPTER)
    elif Path(source).expanduser().is_dir():
        encoder = _encoder_in(Path(source).expanduser())
    elif Path(source).expanduser().is_file():
        encoder = encoder_from_state(checkpoint.load_torch(Path(source).expanduser()), source=source)
    elif is_hub_id(source):
        encoder = FaceAdapter.from_pretrained(source).encoder
    else:
        raise UserError(f"adapter.encoder: {source!r} is no file or directory here, no hub id, bundle or random:...")
    return encoder.requires_grad_(False).eval()


def _encoder_in(directory: Path) -> TransFace:
    """Of a FaceAdapter's directory, or of one that holds a TransFace alone."""
    if checkpoint.read_config(directory).get("format") == FORMAT:
        return FaceAdapter.from_pretrained(directory).encoder
    return load_transface(directory)

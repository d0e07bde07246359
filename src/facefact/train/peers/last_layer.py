"""FACT with the recogniser's last layer, its one embedding, in the place of the penultimate layer's local tokens: all
else is FACT's own, so that the difference is what the tokens carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from facefact import checkpoint
from facefact.adapter import token_width
from facefact.adapter.layer import AdapterLayers, LayerConfig
from facefact.adapter.unet_seam import UNET, layer_configs
from facefact.config import from_tree
from facefact.encoder import TransFace, TransFaceConfig
from facefact.face_adapter import FaceAdapter
from facefact.train.peers.config import FORMAT, VERSION, PeerConfig, save_peer
from facefact.train.peers.global_face import GlobalFace
from facefact.types import UserError


class LastLayerAdapter(FaceAdapter):
    """A FaceAdapter whose tokens a `GlobalFace` makes."""

    def __init__(self, *, encoder: TransFace, peer: PeerConfig, layers: AdapterLayers) -> None:
        nn.Module.__init__(self)
        self.encoder = encoder.requires_grad_(False)
        self.peer = peer
        width = token_width(layers.configs)
        self.resampler: Any = GlobalFace(encoder, tokens=peer.tokens, hidden=peer.hidden, output_width=width)
        self.layers, self.seam = layers, UNET
        self.about: dict[str, Any] = {}
        self._attachment = None
        self.train(self.training)

    @classmethod
    def fresh(cls, host: Any, *, encoder: TransFace, peer: PeerConfig, gate: float = 0.0) -> LastLayerAdapter:
        """For a pipeline or model, to be trained; attached to nothing yet. gate: as `FaceAdapter.new`."""
        peer.check()
        return cls(encoder=encoder, peer=peer, layers=AdapterLayers(layer_configs(host), gate=gate))

    @classmethod
    def from_pretrained(cls, source: str | Path, **_: Any) -> LastLayerAdapter:  # type: ignore[override]
        """From a directory that `save_pretrained` wrote, for use. UserError: it is none."""
        config = checkpoint.read_config(Path(source))
        if config.get("format") != FORMAT or config.get("version") != VERSION or "layers" not in config:
            raise UserError(f"{source} is no peer of version {VERSION} that reads the last layer")
        layers = {name: from_tree(LayerConfig, one, where=f"layers.{name}.") for name, one in config["layers"].items()}
        made = cls(
            encoder=TransFace(from_tree(TransFaceConfig, config["encoder"], where="encoder.")),
            peer=from_tree(PeerConfig, config["peer"], where="peer."),
            layers=AdapterLayers(layers),
        )
        state, _ = checkpoint.load(Path(source))
        checkpoint.load_strictly(made, state, source=source, dtype=torch.float32)
        made.about = dict(config.get("about", {}))
        return made.eval()

    @property
    def device(self) -> torch.device:
        return self.resampler.enter.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.resampler.enter.weight.dtype

    def save_pretrained(
        self, directory: str | Path, *, dtype: torch.dtype | None = None, about: Mapping[str, Any] | None = None
    ) -> None:
        """As `FaceAdapter.save_pretrained`."""
        parts = {"layers": {name: asdict(layer) for name, layer in self.layers.configs.items()}}
        save_peer(self, directory, parts, dtype=dtype, about=self.about if about is None else about)

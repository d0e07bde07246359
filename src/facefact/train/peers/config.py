"""Which peer, and how large; and how all of them are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from facefact import checkpoint
from facefact.types import UserError

FORMAT = "facefact.Peer"
VERSION = 1
Kind = Literal["ip_adapter", "faceid", "last_layer"]


@dataclass(frozen=True)
class PeerConfig:
    """kind: "ip_adapter" (Ye et al. 2023): decoupled cross-attention beside that to the text, on the same resampler's
    tokens that FACT reads; "faceid" (its FaceID form): the same on a few tokens that a small network makes of the one
    embedding of the face; "last_layer": FACT's own layers on such tokens, the recogniser's last layer in the place of
    its penultimate one. tokens, hidden: of that network: how many it makes, and its width; other kinds read the
    resampler's settings."""

    kind: Kind = "ip_adapter"
    tokens: int = 4
    hidden: int = 1024

    @property
    def is_fact(self) -> bool:
        """Whether it has FACT's layers: gates, and increments that FAIR reads."""
        return self.kind == "last_layer"

    def check(self) -> None:
        if self.tokens < 1 or self.hidden < 1:
            raise UserError(f"adapter.peer: {self.tokens} tokens and a width of {self.hidden} are none: at least 1")


def save_peer(
    adapter: Any,
    directory: str | Path,
    parts: Mapping[str, Any],
    *,
    dtype: torch.dtype | None,
    about: Mapping[str, Any],
) -> None:
    """Writes a peer as `FaceAdapter.save_pretrained` writes an adapter. parts: what its kind needs to be opened."""
    state = {k: v.to(dtype) if dtype and v.is_floating_point() else v for k, v in adapter.state_dict().items()}
    common = {
        "format": FORMAT,
        "version": VERSION,
        "peer": asdict(adapter.peer),
        "encoder": asdict(adapter.encoder.config),
    }
    checkpoint.save(directory, state, {**common, **parts, "about": dict(about)})
